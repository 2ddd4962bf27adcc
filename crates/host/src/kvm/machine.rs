//! One virtual machine with one virtual CPU, just large enough to measure.
#![allow(
    unsafe_code,
    reason = "KVM is driven by ioctls and memory shared with the kernel"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Instant;

use libc::{Ioctl, c_ulong, c_void};

use super::guest::{self, Stage};
use super::verdict::is_hopeless;
use super::{KvmError, Measured, abi};

/// Iterations of the first, shortest loop; one tenth of a millisecond's work even on a slow processor.
const FIRST_LOOP: u64 = 10_000;
const LAST_LOOP: u64 = 1_000_000;
const TRAPS: u64 = 100;
const TICKS: u64 = 10;
/// Repeated, and the best kept: a busy host makes single measurements worthless.
const TRIES: u32 = 3;
const MEASURABLE_US: u128 = 200;

/// Measures as far as it comes; what was measured before a failure stays in `measured`.
pub(super) fn measure(deadline: Instant, measured: &mut Measured) -> Result<(), KvmError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(KvmError::Unsupported("the KVM probe knows x86-64 only"));
    }
    let mut machine = Machine::new(deadline, measured)?;
    measured.native_loops_per_ms = Some(best(native_loop, LAST_LOOP)?);
    let mut count = FIRST_LOOP;
    loop {
        let started = Instant::now();
        measured.loops_per_ms = Some(best(|| machine.run(guest::LOOP, count), count)?);
        if count >= LAST_LOOP || started.elapsed().as_micros() / u128::from(TRIES) > MEASURABLE_US {
            break;
        }
        count *= 10;
    }
    if is_hopeless(measured) {
        // What follows would only take longer.
        return Ok(());
    }
    measured.exceptions_per_ms = Some(best(|| machine.run(guest::EXCEPTIONS, TRAPS), TRAPS)?);
    measured.ring_trips_per_ms = Some(best(|| machine.run(guest::RING_TRIPS, TRAPS), TRAPS)?);
    measured.timer_interrupts_per_ms = Some(best(|| machine.run(guest::TIMER, TICKS), TICKS)?);
    Ok(())
}

/// A stage, and whether it ended as it should.
#[cfg(test)]
type Outcome = (Stage, Result<(), KvmError>);

/// Lets the guest do a little of each stage, however slowly.
#[cfg(test)]
pub(super) fn try_all(deadline: Instant) -> Result<[Outcome; 4], KvmError> {
    let mut machine = Machine::new(deadline, &mut Measured::default())?;
    let stages = [
        guest::LOOP,
        guest::EXCEPTIONS,
        guest::TIMER,
        guest::RING_TRIPS,
    ];
    Ok(stages.map(|stage| (stage, machine.run(stage, TICKS))))
}

/// Events per millisecond in the best of some tries.
fn best(mut run: impl FnMut() -> Result<(), KvmError>, count: u64) -> Result<f64, KvmError> {
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed().as_secs_f64() * 1000.0);
    }
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    Ok(count as f64 / best.max(1e-6))
}

/// The guest's loop, on the host.
fn native_loop() -> Result<(), KvmError> {
    let count = LAST_LOOP;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: touches one register and the flags, both declared; no memory, no stack.
    unsafe {
        std::arch::asm!("2: dec {0:e}", "jnz 2b", inout(reg) count => _, options(nomem, nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = count;
    Ok(())
}

/// Memory mapped for the kernel or the guest to share, unmapped when dropped.
struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapping {
    fn new(length: usize, shared_with: Option<&OwnedFd>) -> io::Result<Self> {
        let (flags, fd) = match shared_with {
            Some(fd) => (libc::MAP_SHARED, fd.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start)
            .map(|start| Self { start, length })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Reads a member that the kernel writes.
    fn read<T: Copy>(&self, offset: usize) -> T {
        assert!(
            offset + size_of::<T>() <= self.length,
            "a member within the mapping"
        );
        // SAFETY: within the mapping, asserted; `T` is an integer; volatile because the kernel writes it.
        unsafe {
            self.start
                .as_ptr()
                .byte_add(offset)
                .cast::<T>()
                .read_volatile()
        }
    }

    fn write(&self, offset: usize, value: u8) {
        assert!(offset < self.length, "a member within the mapping");
        // SAFETY: within the mapping, asserted; volatile because the kernel reads it.
        unsafe {
            self.start
                .as_ptr()
                .byte_add(offset)
                .cast::<u8>()
                .write_volatile(value);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new` and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// Fields are dropped in order: the descriptors of virtual CPU and machine before the guest's memory.
struct Machine {
    run: Mapping,
    vcpu: OwnedFd,
    _vm: OwnedFd,
    _kvm: File,
    _memory: Mapping,
    deadline: Instant,
}

impl Machine {
    fn new(deadline: Instant, measured: &mut Measured) -> Result<Self, KvmError> {
        install_kick_handler()?;
        let kvm = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .map_err(KvmError::Open)?;
        let version = call(&kvm, abi::GET_API_VERSION, 0, "KVM_GET_API_VERSION")?;
        if version != abi::API_VERSION {
            return Err(KvmError::ApiVersion(version));
        }
        let vm = created(call(&kvm, abi::CREATE_VM, 0, "KVM_CREATE_VM")?);
        measured.max_vcpus = call(
            &kvm,
            abi::CHECK_EXTENSION,
            abi::CAP_MAX_VCPUS,
            "KVM_CHECK_EXTENSION",
        )
        .ok()
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0);
        // Intel processors without unrestricted guests need it; others refuse or ignore it.
        let _ = call(&vm, abi::SET_TSS_ADDR, 0xfffb_d000, "KVM_SET_TSS_ADDR");

        let memory = Mapping::new(guest::MEMORY, None).map_err(|source| KvmError::Operation {
            operation: "mapping guest memory",
            source,
        })?;
        // SAFETY: the mapping is exactly this large, ours alone, zeroed and not yet given to the kernel.
        guest::install(unsafe { &mut *memory.start.as_ptr().cast::<[u8; guest::MEMORY]>() });
        let mut region = abi::UserMemoryRegion {
            memory_size: guest::MEMORY as u64,
            userspace_addr: memory.start.as_ptr() as u64,
            ..Default::default()
        };
        pass(
            &vm,
            abi::SET_USER_MEMORY_REGION,
            &mut region,
            "KVM_SET_USER_MEMORY_REGION",
        )?;

        // With interrupt controllers in the kernel, as QEMU has them; before the first virtual CPU.
        call(&vm, abi::CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP")?;
        let vcpu = created(call(&vm, abi::CREATE_VCPU, 0, "KVM_CREATE_VCPU")?);
        let mut cpuid = Box::new(abi::Cpuid2 {
            nent: abi::CPUID_ENTRIES as u32,
            padding: 0,
            entries: [[0; 10]; abi::CPUID_ENTRIES],
        });
        pass(
            &kvm,
            abi::GET_SUPPORTED_CPUID,
            &mut *cpuid,
            "KVM_GET_SUPPORTED_CPUID",
        )?;
        pass(&vcpu, abi::SET_CPUID2, &mut *cpuid, "KVM_SET_CPUID2")?;
        let mut sregs = abi::Sregs::default();
        pass(&vcpu, abi::GET_SREGS, &mut sregs, "KVM_GET_SREGS")?;
        guest::long_mode(&mut sregs);
        pass(&vcpu, abi::SET_SREGS, &mut sregs, "KVM_SET_SREGS")?;

        let entries = guest::SYSCALL_MSRS.map(|(index, data)| abi::Msr {
            index,
            reserved: 0,
            data,
        });
        let mut msrs = abi::Msrs {
            nmsrs: 3,
            padding: 0,
            entries,
        };
        if pass(&vcpu, abi::SET_MSRS, &mut msrs, "KVM_SET_MSRS")? != 3 {
            return Err(KvmError::Unsupported(
                "KVM_SET_MSRS does not take the registers of syscall",
            ));
        }

        let size = call(&kvm, abi::GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE")?;
        let size = usize::try_from(size).unwrap_or(0);
        if size < abi::RUN_UNION + 64 {
            return Err(KvmError::Unsupported("KVM_GET_VCPU_MMAP_SIZE is too small"));
        }
        let run = Mapping::new(size, Some(&vcpu)).map_err(|source| KvmError::Operation {
            operation: "mapping kvm_run",
            source,
        })?;
        Ok(Self {
            run,
            vcpu,
            _vm: vm,
            _kvm: kvm,
            _memory: memory,
            deadline,
        })
    }

    /// Lets the guest do `count` times what `stage` says.
    fn run(&mut self, stage: Stage, count: u64) -> Result<(), KvmError> {
        let mut regs = abi::Regs {
            rip: stage.entry,
            rsp: guest::STACK,
            rbx: count,
            rcx: count,
            rflags: 2,
            ..Default::default()
        };
        // An interrupted stage ran at another privilege: start each on the same segments.
        let mut sregs = abi::Sregs::default();
        pass(&self.vcpu, abi::GET_SREGS, &mut sregs, "KVM_GET_SREGS")?;
        guest::long_mode(&mut sregs);
        pass(&self.vcpu, abi::SET_SREGS, &mut sregs, "KVM_SET_SREGS")?;
        pass(&self.vcpu, abi::SET_REGS, &mut regs, "KVM_SET_REGS")?;
        loop {
            if Instant::now() >= self.deadline {
                return Err(KvmError::Deadline { stage: stage.name });
            }
            match call(&self.vcpu, abi::RUN, 0, "KVM_RUN") {
                Ok(_) => {}
                Err(KvmError::Operation { source, .. })
                    if source.kind() == io::ErrorKind::Interrupted =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (reason, port) = (
                self.run.read::<u32>(abi::RUN_EXIT_REASON),
                self.run.read(abi::RUN_IO_PORT),
            );
            match (reason, port) {
                (abi::EXIT_INTR, _) => {}
                (abi::EXIT_IO, port) if stage.port == port => {
                    self.complete();
                    return Ok(());
                }
                _ => {
                    return Err(KvmError::Exit {
                        stage: stage.name,
                        exit: self.exit_name(reason, port),
                    });
                }
            }
        }
    }

    /// The instruction that wrote to the port is finished by the next entry: enter without running, so that setting
    /// registers afterwards is not undone.
    fn complete(&self) {
        self.run.write(abi::RUN_IMMEDIATE_EXIT, 1);
        let _ = call(&self.vcpu, abi::RUN, 0, "KVM_RUN");
        self.run.write(abi::RUN_IMMEDIATE_EXIT, 0);
    }

    /// How the guest ended, in KVM's terms.
    fn exit_name(&self, reason: u32, port: u16) -> String {
        let name = match reason {
            abi::EXIT_IO if port == guest::UNEXPECTED_PORT => {
                let offset = self.run.read::<u64>(abi::RUN_IO_DATA_OFFSET);
                let offset = usize::try_from(offset)
                    .unwrap_or(0)
                    .min(self.run.length - 1);
                return format!("exception {}", self.run.read::<u8>(offset));
            }
            abi::EXIT_IO => return format!("KVM_EXIT_IO at port {port:#x}"),
            1 => "KVM_EXIT_EXCEPTION",
            5 => "KVM_EXIT_HLT",
            6 => "KVM_EXIT_MMIO",
            8 => "KVM_EXIT_SHUTDOWN",
            9 => "KVM_EXIT_FAIL_ENTRY",
            17 => "KVM_EXIT_INTERNAL_ERROR",
            other => return format!("exit reason {other}"),
        };
        name.into()
    }
}

/// An ioctl with a number as its argument.
fn call(
    fd: &impl AsRawFd,
    request: Ioctl,
    argument: c_ulong,
    operation: &'static str,
) -> Result<i32, KvmError> {
    // SAFETY: the requests passed here take a number, no pointer; KVM_RUN works on the mapping that the machine owns.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(KvmError::Operation {
            operation,
            source: io::Error::last_os_error(),
        });
    }
    Ok(result)
}

/// An ioctl with a structure as its argument.
fn pass<T>(
    fd: &impl AsRawFd,
    request: Ioctl,
    value: &mut T,
    operation: &'static str,
) -> Result<i32, KvmError> {
    // SAFETY: `T` is the `repr(C)` structure of this request, whose size is part of the request's number (asserted in
    // `abi`); Cpuid2 and Msrs state the length of their own tails.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(value)) };
    if result < 0 {
        return Err(KvmError::Operation {
            operation,
            source: io::Error::last_os_error(),
        });
    }
    Ok(result)
}

fn created(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The thread of the probe, to be signalled out of the guest.
pub(super) struct ThreadHandle(libc::pid_t);

impl ThreadHandle {
    pub(super) fn current() -> Self {
        // SAFETY: no preconditions.
        Self(unsafe { libc::gettid() })
    }

    /// Interrupts KVM_RUN, or does nothing if the thread is gone.
    pub(super) fn kick(&self) {
        // SAFETY: no memory is involved; a thread id that was given to another thread of this process meets a handler
        // that does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, kick_signal()) };
    }
}

fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN() + 7
}

/// A handler that does nothing and does not restart the system call: KVM_RUN then returns EINTR.
fn install_kick_handler() -> Result<(), KvmError> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero sigaction is a valid one; the handler is async-signal-safe; the signal is used by nobody else.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(kick_signal(), &raw const action, std::ptr::null_mut())
    };
    if result < 0 {
        return Err(KvmError::Operation {
            operation: "sigaction",
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}
