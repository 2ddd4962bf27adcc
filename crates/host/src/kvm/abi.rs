//! The part of linux/kvm.h the probe needs: numbers and layouts, x86-64 (Documentation/virt/kvm/api.rst).

use libc::Ioctl;

pub(super) const GET_API_VERSION: Ioctl = 0xae00;
pub(super) const CREATE_VM: Ioctl = 0xae01;
pub(super) const CHECK_EXTENSION: Ioctl = 0xae03;
pub(super) const GET_VCPU_MMAP_SIZE: Ioctl = 0xae04;
pub(super) const GET_SUPPORTED_CPUID: Ioctl = 0xc008_ae05;
pub(super) const CREATE_VCPU: Ioctl = 0xae41;
pub(super) const SET_USER_MEMORY_REGION: Ioctl = 0x4020_ae46;
pub(super) const SET_TSS_ADDR: Ioctl = 0xae47;
pub(super) const CREATE_IRQCHIP: Ioctl = 0xae60;
pub(super) const RUN: Ioctl = 0xae80;
pub(super) const SET_REGS: Ioctl = 0x4090_ae82;
pub(super) const GET_SREGS: Ioctl = 0x8138_ae83;
pub(super) const SET_SREGS: Ioctl = 0x4138_ae84;
pub(super) const SET_MSRS: Ioctl = 0x4008_ae89;
pub(super) const SET_CPUID2: Ioctl = 0x4008_ae90;

pub(super) const API_VERSION: i32 = 12;
pub(super) const CAP_MAX_VCPUS: libc::c_ulong = 66;

pub(super) const EXIT_IO: u32 = 2;
pub(super) const EXIT_INTR: u32 = 10;

/// `kvm_run`: offsets of the members the probe touches.
pub(super) const RUN_IMMEDIATE_EXIT: usize = 1;
pub(super) const RUN_EXIT_REASON: usize = 8;
pub(super) const RUN_UNION: usize = 32;
pub(super) const RUN_IO_DATA_OFFSET: usize = RUN_UNION + 8;
pub(super) const RUN_IO_PORT: usize = RUN_UNION + 2;

pub(super) const CPUID_ENTRIES: usize = 256;

#[repr(C)]
pub(super) struct Cpuid2 {
    pub nent: u32,
    pub padding: u32,
    pub entries: [[u32; 10]; CPUID_ENTRIES],
}

#[repr(C)]
pub(super) struct Msrs {
    pub nmsrs: u32,
    pub padding: u32,
    pub entries: [Msr; 3],
}

#[repr(C)]
pub(super) struct Msr {
    pub index: u32,
    pub reserved: u32,
    pub data: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct UserMemoryRegion {
    pub slot: u32,
    pub flags: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub userspace_addr: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Regs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8_to_r15: [u64; 8],
    pub rip: u64,
    pub rflags: u64,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
pub(super) struct Segment {
    pub base: u64,
    pub limit: u32,
    pub selector: u16,
    pub kind: u8,
    pub present: u8,
    pub dpl: u8,
    pub db: u8,
    pub s: u8,
    pub l: u8,
    pub g: u8,
    pub avl: u8,
    pub unusable: u8,
    pub padding: u8,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
pub(super) struct Table {
    pub base: u64,
    pub limit: u16,
    pub padding: [u16; 3],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Sregs {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
    pub gdt: Table,
    pub idt: Table,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    pub apic_base: u64,
    pub interrupt_bitmap: [u64; 4],
}

// The kernel encodes these sizes in the ioctl numbers.
const _: () = assert!(size_of::<UserMemoryRegion>() == 0x20);
const _: () = assert!(size_of::<Regs>() == 0x90);
const _: () = assert!(size_of::<Sregs>() == 0x138);
