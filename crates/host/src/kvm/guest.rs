//! The probe's guest: memory of 64 KiB with tables and a hundred bytes of code, x86-64 long mode, identity-mapped.
//!
//! ```text
//! 0x1000 PML4  0x2000 PDPT  0x3000 PD (one 2 MiB page, user-accessible)
//! 0x4000 GDT   0x5000 IDT   0x6000 TSS   ..0x8000 ring 0 stack   ..0x9000 ring 3 stack   0xa000 code
//! 0xb000 handlers of what must not happen   0xc000 PD of the gigabyte with the local APIC (0xfee0_0000, uncached)
//! ```

use super::abi::{Segment, Sregs, Table};

pub(super) const MEMORY: usize = 64 << 10;
pub(super) const STACK: u64 = 0x8000;

const PML4: usize = 0x1000;
const PDPT: usize = 0x2000;
const PD: usize = 0x3000;
const GDT: usize = 0x4000;
const IDT: usize = 0x5000;
const TSS: usize = 0x6000;
/// Page directory of the fourth gigabyte.
const APIC_PD: usize = 0xc000;
/// Where the local APIC of every x86 processor is after reset (Intel SDM 3A, 11.4.1).
const APIC: u64 = 0xfee0_0000;
/// The vector that the timer of the guest's local APIC raises.
const TIMER_VECTOR: u8 = 0x20;
/// Period of that timer in units of KVM's APIC bus clock, a nanosecond each: 100 microseconds.
const TIMER_PERIOD: u32 = 100_000;
const CODE: usize = 0xa000;
/// Eight bytes for each vector that is not expected.
const UNEXPECTED: usize = 0xb000;
/// Where those report their vector.
pub(super) const UNEXPECTED_PORT: u16 = 0x1f;

/// Something the guest does `rcx` (and `rbx`) times and then reports by writing to a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub name: &'static str,
    pub entry: u64,
    pub port: u16,
}

pub(super) const LOOP: Stage = Stage {
    name: "a loop in kernel mode",
    entry: 0xa000,
    port: 0x10,
};
pub(super) const EXCEPTIONS: Stage = Stage {
    name: "exceptions",
    entry: 0xa010,
    port: 0x11,
};
pub(super) const RING_TRIPS: Stage = Stage {
    name: "system calls from ring 3",
    entry: 0xa020,
    port: 0x12,
};

/// Interrupts of a periodic timer, each waited for by halting.
pub(super) const TIMER: Stage = Stage {
    name: "timer interrupts",
    entry: 0xa090,
    port: 0x13,
};

/// Code by offset from `CODE`.
const PROGRAM: &[(usize, &[u8])] = &[
    // 1: dec ecx; jnz 1b; out 0x10, al
    (0x00, &[0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x10]),
    // 1: ud2; dec ecx; jnz 1b; out 0x11, al
    (0x10, &[0x0f, 0x0b, 0xff, 0xc9, 0x75, 0xfa, 0xe6, 0x11]),
    // mov ecx, 0xa040 (user rip); mov r11d, 2 (rflags); sysretq
    (
        0x20,
        &[
            0xb9, 0x40, 0xa0, 0x00, 0x00, 0x41, 0xbb, 0x02, 0x00, 0x00, 0x00, 0x48, 0x0f, 0x07,
        ],
    ),
    // ring 3: 1: dec ebx; syscall; jmp 1b
    (0x40, &[0xff, 0xcb, 0x0f, 0x05, 0xeb, 0xfa]),
    // #UD: add qword [rsp], 2; iretq
    (0x60, &[0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xcf]),
    // syscall: test ebx, ebx; jz 1f; sysretq; 1: out 0x12, al; hlt
    (
        0x70,
        &[0x85, 0xdb, 0x74, 0x03, 0x48, 0x0f, 0x07, 0xe6, 0x12, 0xf4],
    ),
    // The timer. mov edi, 0xfee00000: registers of the local APIC are offsets from here
    (0x90, &[0xbf, 0x00, 0x00, 0xe0, 0xfe]),
    // spurious interrupt vector: mov dword [rdi+0xf0], 0x1ff (vector 0xff; bit 8 switches the APIC on)
    (0x95, &[0xc7, 0x87, 0xf0, 0, 0, 0, 0xff, 0x01, 0, 0]),
    // divide by one: mov dword [rdi+0x3e0], 0xb
    (0x9f, &[0xc7, 0x87, 0xe0, 0x03, 0, 0, 0x0b, 0, 0, 0]),
    // timer entry: mov dword [rdi+0x320], 0x20020 (bit 17: periodic; vector 0x20)
    (
        0xa9,
        &[0xc7, 0x87, 0x20, 0x03, 0, 0, TIMER_VECTOR, 0, 0x02, 0],
    ),
    // initial count, which starts it: mov dword [rdi+0x380], period (written by `install`)
    (0xb3, &[0xc7, 0x87, 0x80, 0x03, 0, 0]),
    // 1: sti; hlt; cli; test ebx, ebx; jg 1b. `sti` takes effect after `hlt`, so that no interrupt is slept through
    (0xbd, &[0xfb, 0xf4, 0xfa, 0x85, 0xdb, 0x7f, 0xf9]),
    // stop it: mov dword [rdi+0x380], 0; out 0x13, al
    (
        0xc4,
        &[0xc7, 0x87, 0x80, 0x03, 0, 0, 0, 0, 0, 0, 0xe6, 0x13],
    ),
    // its handler: dec ebx; mov dword [rdi+0xb0], 0 (end of interrupt); iretq
    (
        TIMER_HANDLER,
        &[
            0xff, 0xcb, 0xc7, 0x87, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0xcf,
        ],
    ),
];
const TIMER_HANDLER: usize = 0xd0;
/// Where the period stands in the code.
const TIMER_PERIOD_AT: usize = 0xb9;

const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;
/// Model-specific registers of `syscall`: STAR (selectors of both ways), LSTAR (the handler), SFMASK.
pub(super) const SYSCALL_MSRS: [(u32, u64); 3] = [
    (0xc000_0081, (0x10 << 48) | (0x08 << 32)),
    (0xc000_0082, 0xa070),
    (0xc000_0084, 0),
];
const TSS_SELECTOR: u16 = 0x28;

/// Writes tables and code into the guest's memory, which is zero.
pub(super) fn install(memory: &mut [u8; MEMORY]) {
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    let mut quad = |at: usize, value: u64| put(at, &value.to_le_bytes());
    quad(PML4, PDPT as u64 | 7); // present, writable, user
    quad(PDPT, PD as u64 | 7);
    quad(PD, 0x87); // and a 2 MiB page
    quad(PDPT + 3 * 8, APIC_PD as u64 | 3);
    // present, writable, write-through, uncached, a 2 MiB page
    quad(APIC_PD + (APIC as usize >> 21 & 511) * 8, APIC | 0x9b);
    quad(GDT + 0x08, 0x00af_9b00_0000_ffff); // ring 0 code, 64 bits
    quad(GDT + 0x10, 0x00cf_9300_0000_ffff); // ring 0 data
    quad(GDT + 0x18, 0x00cf_f300_0000_ffff); // ring 3 data
    quad(GDT + 0x20, 0x00af_fb00_0000_ffff); // ring 3 code, 64 bits
    quad(GDT + 0x28, 0x0000_8b00_0000_0067 | ((TSS as u64) << 16)); // busy 64-bit TSS
    quad(TSS + 4, STACK); // rsp0
    for vector in 0..=255_u8 {
        let stub = UNEXPECTED + usize::from(vector) * 8;
        let handler = match vector {
            6 => CODE + 0x60,
            TIMER_VECTOR => CODE + TIMER_HANDLER,
            _ => stub,
        };
        // Below 64 KiB: all of the address is in one part of the gate's split offset.
        let gate = handler as u64 | (u64::from(CODE_SELECTOR) << 16) | (0x8e00 << 32);
        quad(IDT + usize::from(vector) * 16, gate);
        // mov al, vector; out 0x1f, al; hlt
        quad(
            stub,
            u64::from_le_bytes([0xb0, vector, 0xe6, UNEXPECTED_PORT as u8, 0xf4, 0, 0, 0]),
        );
    }
    for (at, code) in PROGRAM {
        put(CODE + at, code);
    }
    put(CODE + TIMER_PERIOD_AT, &TIMER_PERIOD.to_le_bytes());
}

/// Puts a virtual CPU into long mode on those tables.
pub(super) fn long_mode(sregs: &mut Sregs) {
    let data = Segment {
        limit: u32::MAX,
        selector: DATA_SELECTOR,
        kind: 3,
        present: 1,
        s: 1,
        g: 1,
        db: 1,
        ..Segment::default()
    };
    sregs.cs = Segment {
        selector: CODE_SELECTOR,
        kind: 11,
        l: 1,
        db: 0,
        ..data
    };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = Segment {
        base: TSS as u64,
        limit: 0x67,
        selector: TSS_SELECTOR,
        kind: 11,
        present: 1,
        ..Segment::default()
    };
    sregs.gdt = Table {
        base: GDT as u64,
        limit: 0x37,
        padding: [0; 3],
    };
    sregs.idt = Table {
        base: IDT as u64,
        limit: 0xfff,
        padding: [0; 3],
    };
    sregs.cr0 = 0x8005_0033; // PE MP ET NE WP AM PG
    sregs.cr3 = PML4 as u64;
    sregs.cr4 = 0x20; // PAE
    sregs.efer = 0x501; // SCE LME LMA
}
