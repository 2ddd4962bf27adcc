use host::clock::ClockFacts;
use host::kvm::{KvmReport, Measured};

use super::*;

fn report(reason: KvmReason, message: &str) -> KvmReport {
    KvmReport {
        usable: reason == KvmReason::Usable,
        reason,
        message: message.to_owned(),
        measured: Measured::default(),
        took_ms: 1,
    }
}

fn kvm(as_qemu: KvmReport, as_root: Option<KvmReport>) -> Option<Found<KvmFacts>> {
    Some(Ok(KvmFacts { as_qemu, as_root }))
}

/// A host with all that is needed.
fn good() -> Facts {
    let flags = "svm cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
    Facts {
        cpu: Ok(CpuFacts {
            count: 4,
            vendor: "AuthenticAMD".to_owned(),
            flags: flags.split(' ').map(str::to_owned).collect(),
            ..CpuFacts::default()
        }),
        kvm: kvm(report(KvmReason::Usable, "fine"), None),
        qemu: Ok(QemuFacts {
            version: (7, 2),
            machine_types: vec!["pc-q35-7.2".to_owned(), "q35".to_owned()],
            seabios: Ok("1.16.2".to_owned()),
        }),
        kernel: Ok(KernelFacts {
            release: "6.1".to_owned(),
            namespaces: vec![("net".to_owned(), Ok(()))],
            nftables: Ok(()),
            tap: Ok(()),
            cgroups: Ok((2, CONTROLLERS.map(str::to_owned).to_vec())),
        }),
        disk: Ok(StorageFacts {
            total: 100 << 30,
            available: 50 << 30,
            files: Some(1_000_000),
            durable_write_ms: Ok(1),
        }),
        memory: Ok(MemoryFacts {
            total: 8 << 30,
            available: 4 << 30,
            ..MemoryFacts::default()
        }),
        time: Ok(TimeFacts {
            clock: ClockFacts {
                unix_seconds: limits::EARLIEST + 1,
                synchronized: Some(true),
                max_error_us: Some(1),
            },
            skew_seconds: Some(0),
        }),
        sandbox: Ok(SandboxFacts {
            user: (107, 107),
            unprivileged: true,
            landlock: Some(5),
            qemu: Ok(()),
        }),
    }
}

fn result(facts: &Facts, emulation: EmulationPolicy, name: &str) -> CheckResult {
    let all = judge(facts, emulation);
    assert_eq!(all.len(), Aspect::ALL.len());
    all.into_iter().find(|r| r.check_name == name).unwrap()
}

/// The message of a failed check.
fn fails(facts: &Facts, name: &str) -> String {
    let result = result(facts, EmulationPolicy::Never, name);
    assert!(!result.passed, "{result:?}");
    result.message.unwrap()
}

/// The note on one that passed.
fn notes(facts: &Facts, emulation: EmulationPolicy, name: &str) -> String {
    let result = result(facts, emulation, name);
    assert!(result.passed, "{result:?}");
    result.message.unwrap()
}

#[test]
fn a_good_host_passes_everything_without_a_word() {
    for emulation in [EmulationPolicy::Never, EmulationPolicy::Automatic] {
        for (aspect, result) in Aspect::ALL.iter().zip(judge(&good(), emulation)) {
            assert_eq!(result, CheckResult::passed(aspect.name()));
        }
    }
}

#[test]
fn a_missing_device_fails_with_the_documented_two_lines() {
    let mut facts = good();
    facts.kvm = kvm(report(KvmReason::NoDevice, "There is no /dev/kvm"), None);
    assert_eq!(
        fails(&facts, "KVM"),
        "command terminated with exit code 1\nls: /mnt/dev/kvm: No such file or directory\n"
    );
}

#[test]
fn what_kvm_must_be_follows_from_use_emulation() {
    let mut facts = good();
    facts.kvm = kvm(report(KvmReason::TooSlow, "1,000 times too slow"), None);
    assert_eq!(fails(&facts, "KVM"), "1,000 times too slow");
    let automatic = notes(&facts, EmulationPolicy::Automatic, "KVM");
    assert!(
        automatic.contains("will be emulated") && automatic.contains("1,000 times"),
        "{automatic}"
    );
    facts.kvm = None;
    assert!(notes(&facts, EmulationPolicy::Always, "KVM").contains("not needed"));
    fails(&facts, "KVM");
}

#[test]
fn permission_is_told_from_a_device_that_is_no_good_either_way() {
    let closed = || report(KvmReason::NotPermitted, "may not be opened");
    let mut facts = good();
    facts.kvm = kvm(closed(), Some(report(KvmReason::Usable, "fine")));
    let message = fails(&facts, "KVM");
    assert!(
        message.contains("uid 107") && message.contains("chgrp kvm"),
        "{message}"
    );
    facts.kvm = kvm(closed(), Some(report(KvmReason::TooSlow, "only imitates")));
    let message = fails(&facts, "KVM");
    assert!(
        message.contains("only imitates") && message.contains("uid 107"),
        "{message}"
    );
}

#[test]
fn a_probe_that_crashed_or_hung_is_a_failed_check_that_says_so() {
    let mut facts = good();
    facts.kvm = Some(Err("the probe ended with signal 11".to_owned()));
    assert!(fails(&facts, "KVM").contains("signal 11"));
    facts.kernel = Err("the probe did not end within 20 s".to_owned());
    assert!(fails(&facts, "Kernel").contains("did not end"));
}

#[test]
fn processors_without_virtualization_or_below_v2() {
    let cpu = |remove: &str| {
        let mut facts = good();
        if let Ok(cpu) = &mut facts.cpu {
            cpu.flags.remove(remove);
        }
        facts
    };
    assert!(fails(&cpu("svm"), "CPU").contains("vmx"));
    assert!(notes(&cpu("svm"), EmulationPolicy::Automatic, "CPU").contains("vmx"));
    assert_eq!(
        result(&cpu("svm"), EmulationPolicy::Always, "CPU"),
        CheckResult::passed("CPU")
    );
    assert!(fails(&cpu("popcnt"), "CPU").contains("lacks popcnt"));
    // Guests will be emulated: their processor is another one.
    let mut emulated = cpu("popcnt");
    emulated.kvm = kvm(report(KvmReason::TooSlow, "slow"), None);
    assert!(notes(&emulated, EmulationPolicy::Automatic, "CPU").contains("x86-64-v2"));
}

/// A check, words of its message, and what spoils a good host.
type Case = (&'static str, &'static str, fn(&mut Facts));

#[test]
fn each_other_prerequisite_fails_with_what_to_do() {
    let cases: [Case; 12] = [
        ("QEMU", "too old", |f| {
            f.qemu.as_mut().unwrap().version = (6, 9);
        }),
        ("QEMU", "q35", |f| {
            f.qemu.as_mut().unwrap().machine_types.clear();
        }),
        ("QEMU", "install the package seabios", |f| {
            f.qemu.as_mut().unwrap().seabios = Err("it is not there".to_owned());
        }),
        ("Kernel", "nf_tables", |f| {
            f.kernel.as_mut().unwrap().nftables = Err("no".to_owned());
        }),
        ("Kernel", "module tun", |f| {
            f.kernel.as_mut().unwrap().tap = Err("no".to_owned());
        }),
        ("Kernel", "a net namespace", |f| {
            f.kernel.as_mut().unwrap().namespaces[0].1 = Err("no".to_owned());
        }),
        ("Kernel", "lack the controllers memory, pids", |f| {
            f.kernel.as_mut().unwrap().cgroups = Ok((1, vec!["cpu".to_owned()]));
        }),
        ("Disk", "1024 MiB are needed", |f| {
            f.disk.as_mut().unwrap().available = 1 << 20;
        }),
        ("Disk", "Read-only", |f| {
            f.disk.as_mut().unwrap().durable_write_ms = Err("Read-only file system".to_owned());
        }),
        ("Memory", "256 MiB are needed", |f| {
            f.memory.as_mut().unwrap().available = 1 << 20;
        }),
        ("Time", "31 s behind", |f| {
            f.time.as_mut().unwrap().skew_seconds = Some(31);
        }),
        ("Sandbox", "seccomp", |f| {
            f.sandbox.as_mut().unwrap().qemu = Err("it ended".to_owned());
        }),
    ];
    for (name, words, broken) in cases {
        let mut facts = good();
        broken(&mut facts);
        let message = fails(&facts, name);
        assert!(message.contains(words), "{name}: {message}");
        let others = judge(&facts, EmulationPolicy::Never);
        assert_eq!(others.iter().filter(|r| !r.passed).count(), 1, "{others:?}");
    }
}

#[test]
fn what_is_only_unwise_passes_with_a_note() {
    let cases: [Case; 5] = [
        ("Time", "NTP", |f| {
            f.time.as_mut().unwrap().clock.synchronized = Some(false);
        }),
        ("Time", "3 s ahead", |f| {
            f.time.as_mut().unwrap().skew_seconds = Some(-3);
        }),
        ("Disk", "5120 MiB", |f| {
            f.disk.as_mut().unwrap().available = 5 << 30;
        }),
        ("Memory", "512 MiB", |f| {
            f.memory.as_mut().unwrap().available = 512 << 20;
        }),
        ("Sandbox", "Landlock", |f| {
            f.sandbox.as_mut().unwrap().landlock = None;
        }),
    ];
    for (name, words, odd) in cases {
        let mut facts = good();
        odd(&mut facts);
        let note = notes(&facts, EmulationPolicy::Never, name);
        assert!(note.contains(words), "{name}: {note}");
    }
}

#[test]
fn a_clock_of_another_century_fails() {
    for second in [0, limits::LATEST] {
        let mut facts = good();
        facts.time.as_mut().unwrap().clock.unix_seconds = second;
        assert!(fails(&facts, "Time").contains("the clock is wrong"));
    }
}
