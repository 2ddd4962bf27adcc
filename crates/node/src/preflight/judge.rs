//! From facts of a host to results of checks. Pure.
//!
//! What KVM must be depends on `spec.useEmulation` (G-13, ADR 0002):
//!
//! | value | KVM usable | not usable |
//! |---|---|---|
//! | true | passes, with a note that it is not needed | the same; it is not looked for |
//! | unset | passes | passes, with a note that guests will be emulated, and why |
//! | false | passes | fails, and says why |

use api::preflight::CheckResult;
use api::vmruntime::EmulationPolicy;
use host::cpu::CpuFacts;
use host::kernel::KernelFacts;
use host::kvm::KvmReason;
use host::memory::MemoryFacts;
use host::storage::StorageFacts;

use super::facts::{Aspect, Facts, Found, KvmFacts, QemuFacts, SandboxFacts, TimeFacts};
use super::limits;

/// What runbooks look for where there is no device (G-38): the words of the probe that the documentation shows.
const NO_DEVICE: &str =
    "command terminated with exit code 1\nls: /mnt/dev/kvm: No such file or directory\n";
/// Makers whose virtualization KVM knows, by their CPUID names.
const VENDORS: [&str; 4] = [
    "GenuineIntel",
    "AuthenticAMD",
    "HygonGenuine",
    "CentaurHauls",
];
/// Controllers that a Pod's limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// What is wrong, and what is worth knowing.
#[derive(Default)]
struct Findings {
    wrong: Vec<String>,
    notes: Vec<String>,
}

impl Findings {
    fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    fn of(self, aspect: Aspect) -> CheckResult {
        let name = aspect.name();
        if !self.wrong.is_empty() {
            return CheckResult::failed(name, self.wrong.join("\n"));
        }
        if self.notes.is_empty() {
            CheckResult::passed(name)
        } else {
            CheckResult::noted(name, self.notes.join("\n"))
        }
    }
}

/// The results, one for each aspect.
#[must_use]
pub fn judge(facts: &Facts, emulation: EmulationPolicy) -> Vec<CheckResult> {
    let kvm = facts.kvm.as_ref();
    let usable = matches!(kvm, Some(Ok(kvm)) if kvm.as_qemu.usable);
    let hardware = match emulation {
        EmulationPolicy::Always => false,
        EmulationPolicy::Automatic => usable,
        EmulationPolicy::Never => true,
    };
    vec![
        with(Aspect::Cpu, &facts.cpu, |cpu, found| {
            judge_cpu(cpu, emulation, hardware, found);
        }),
        judge_kvm(kvm, emulation),
        with(Aspect::Qemu, &facts.qemu, judge_qemu),
        with(Aspect::Kernel, &facts.kernel, judge_kernel),
        with(Aspect::Disk, &facts.disk, judge_disk),
        with(Aspect::Memory, &facts.memory, judge_memory),
        with(Aspect::Time, &facts.time, judge_time),
        with(Aspect::Sandbox, &facts.sandbox, judge_sandbox),
    ]
}

/// A probe that found nothing is a failure.
fn with<T>(aspect: Aspect, facts: &Found<T>, judge: impl FnOnce(&T, &mut Findings)) -> CheckResult {
    let mut found = Findings::default();
    match facts {
        Ok(facts) => judge(facts, &mut found),
        Err(why) => found.wrong(why),
    }
    found.of(aspect)
}

fn judge_cpu(cpu: &CpuFacts, emulation: EmulationPolicy, hardware: bool, found: &mut Findings) {
    if cpu.count == 0 {
        found.wrong("the kernel lists no processor in /proc/cpuinfo");
    }
    if emulation == EmulationPolicy::Always {
        return;
    }
    let flagged = cpu.flags.contains("vmx") || cpu.flags.contains("svm");
    let no_flag = "the processor does not have the flag vmx (Intel VT-x) or svm (AMD-V): enable virtualization in the firmware, or nested virtualization on the machine that hosts this one";
    match emulation {
        EmulationPolicy::Never if !flagged => found.wrong(no_flag),
        _ if !flagged => found.note(no_flag),
        _ => {}
    }
    if !VENDORS.contains(&cpu.vendor.as_str()) {
        found.note(format!(
            "the processor's maker {:?} is not one that hardware virtualization is known of",
            cpu.vendor
        ));
    }
    if cpu.level() < 2 {
        let below = format!(
            "the processor is below x86-64-v2 (it lacks {}), which current guests need",
            cpu.missing_for_next_level().join(", ")
        );
        if hardware {
            found.wrong(below);
        } else {
            found.note(below);
        }
    }
}

fn judge_kvm(kvm: Option<&Found<KvmFacts>>, emulation: EmulationPolicy) -> CheckResult {
    let name = Aspect::Kvm.name();
    if emulation == EmulationPolicy::Always {
        return CheckResult::noted(
            name,
            "not needed: guests are emulated, as spec.useEmulation of the VMRuntime says",
        );
    }
    let why = match kvm {
        Some(Ok(kvm)) if kvm.as_qemu.usable => return CheckResult::passed(name),
        Some(Ok(kvm)) => unusable(kvm),
        Some(Err(why)) => why.clone(),
        None => "it was not probed".to_owned(),
    };
    if emulation == EmulationPolicy::Never {
        return CheckResult::failed(name, why);
    }
    CheckResult::noted(
        name,
        format!(
            "guests on this node will be emulated, which is many times slower than hardware: {}",
            why.trim()
        ),
    )
}

/// Why KVM cannot be used, and what can be done.
fn unusable(kvm: &KvmFacts) -> String {
    let report = kvm.report();
    match report.reason {
        KvmReason::NoDevice => NO_DEVICE.to_owned(),
        _ => report.message,
    }
}

fn judge_qemu(qemu: &QemuFacts, found: &mut Findings) {
    let (major, minor) = qemu.version;
    if qemu.version < limits::QEMU_VERSION {
        let (first, second) = limits::QEMU_VERSION;
        found.wrong(format!(
            "QEMU {major}.{minor} is too old: {first}.{second} or later is needed"
        ));
    }
    if !qemu.machine_types.iter().any(|m| m == "q35") {
        found.wrong(format!(
            "QEMU {major}.{minor} has no machine type q35: is it the build for x86_64?"
        ));
    }
    match &qemu.seabios {
        Ok(version) if version.is_empty() => {
            found.note("the SeaBIOS image does not tell its version");
        }
        Ok(_) => {}
        Err(why) => found.wrong(format!("{why}: install the package seabios")),
    }
}

fn judge_kernel(kernel: &KernelFacts, found: &mut Findings) {
    for (name, tried) in &kernel.namespaces {
        if let Err(why) = tried {
            found.wrong(format!("a {name} namespace cannot be made: {why}"));
        }
    }
    if let Err(why) = &kernel.nftables {
        found.wrong(format!(
            "nftables does not answer: {why}; load the module nf_tables"
        ));
    }
    if let Err(why) = &kernel.tap {
        found.wrong(format!(
            "a tap device cannot be made: {why}; load the module tun"
        ));
    }
    match &kernel.cgroups {
        Err(why) => found.wrong(why.clone()),
        Ok((version, controllers)) => {
            let missing: Vec<&str> = CONTROLLERS
                .into_iter()
                .filter(|c| !controllers.iter().any(|have| have == c))
                .collect();
            if !missing.is_empty() {
                found.wrong(format!(
                    "control groups (v{version}) lack the controllers {}",
                    missing.join(", ")
                ));
            }
        }
    }
}

fn judge_disk(disk: &StorageFacts, found: &mut Findings) {
    let room = format!(
        "the data directory has {} MiB of {} MiB free",
        disk.available >> 20,
        disk.total >> 20
    );
    if disk.available < limits::DISK_FAILS {
        let needed = limits::DISK_FAILS >> 20;
        found.wrong(format!("{room}; {needed} MiB are needed"));
    } else if disk.available < limits::DISK_NOTED {
        found.note(room);
    }
    if disk.files.is_some_and(|files| files < limits::FILES) {
        found.wrong(format!(
            "the data directory's file system takes only {} more files",
            disk.files.unwrap_or(0)
        ));
    }
    match &disk.durable_write_ms {
        Err(why) => found.wrong(format!("writing to the data directory fails: {why}")),
        Ok(ms) if *ms > limits::SLOW_WRITE_MS => {
            found.note(format!("a small durable write took {ms} ms"));
        }
        Ok(_) => {}
    }
}

fn judge_memory(memory: &MemoryFacts, found: &mut Findings) {
    let room = format!(
        "{} MiB of {} MiB of memory are available",
        memory.available >> 20,
        memory.total >> 20
    );
    if memory.available < limits::MEMORY_FAILS {
        let needed = limits::MEMORY_FAILS >> 20;
        found.wrong(format!("{room}; {needed} MiB are needed"));
    } else if memory.available < limits::MEMORY_NOTED {
        found.note(room);
    }
}

fn judge_time(time: &TimeFacts, found: &mut Findings) {
    if !(limits::EARLIEST..limits::LATEST).contains(&time.clock.unix_seconds) {
        found.wrong(format!(
            "the clock is wrong: it says {} seconds since 1970; set it, and keep it with NTP",
            time.clock.unix_seconds
        ));
    }
    if let Some(skew) = time.skew_seconds {
        let (by, way) = (
            skew.unsigned_abs(),
            if skew > 0 { "behind" } else { "ahead of" },
        );
        let text = format!(
            "the clock is {by} s {way} the API server's; keep both with NTP (chrony, systemd-timesyncd)"
        );
        if by > limits::SKEW_FAILS.unsigned_abs() {
            found.wrong(text);
        } else if by > limits::SKEW_NOTED.unsigned_abs() {
            found.note(text);
        }
    }
    if time.clock.synchronized == Some(false) {
        found.note("nothing keeps the kernel's clock right: no NTP client has synchronized it");
    }
}

fn judge_sandbox(sandbox: &SandboxFacts, found: &mut Findings) {
    if !sandbox.unprivileged {
        found.wrong(format!(
            "a process of user {} keeps privileges that it has given up",
            sandbox.user.0
        ));
    }
    if let Err(why) = &sandbox.qemu {
        found.wrong(format!(
            "QEMU does not start confined (user {}, no_new_privs, Landlock, seccomp): {why}",
            sandbox.user.0
        ));
    }
    if sandbox.landlock.is_none() {
        found.note("the kernel has no Landlock, or it is off: QEMU's files are guarded by its user and namespaces alone");
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
