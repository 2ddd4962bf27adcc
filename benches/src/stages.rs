//! The stages of a VM's start. Pure.

use jiff::Timestamp;
use launcher_api::Times;

/// Names of the stages, in their order.
pub(crate) const STAGES: [&str; 7] = [
    "request to Pod seen",
    "Pod seen to launcher process",
    "process to start accepted",
    "accepted to QEMU spawned",
    "spawned to QMP ready",
    "QMP ready to vCPUs running",
    "running to VMI phase Running seen",
];

/// Moments of one start, all on the clock of this host.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) requested: Timestamp,
    pub(crate) pod_seen: Timestamp,
    pub(crate) process: Timestamp,
    pub(crate) launcher: Times,
    pub(crate) running_seen: Timestamp,
}

/// One start in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    /// From the request to running virtual CPUs.
    pub(crate) total: f64,
    /// As [`STAGES`]. The kernel's start times are good to 10 ms, so that one may be less than nothing.
    pub(crate) stages: [f64; 7],
}

/// `None` when a launcher has not written all of its moments.
pub(crate) fn split(moments: &Moments) -> Option<Start> {
    let times = &moments.launcher;
    let at = [
        moments.requested,
        moments.pod_seen,
        moments.process,
        times.accepted?,
        times.spawned?,
        times.qmp_ready?,
        times.running?,
        moments.running_seen,
    ];
    let millis = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64() * 1e3;
    let mut stages = [0.0; 7];
    for (stage, pair) in stages.iter_mut().zip(at.windows(2)) {
        *stage = millis(pair[0], pair[1]);
    }
    Some(Start {
        total: millis(moments.requested, times.running?),
        stages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).expect("a moment")
    }

    #[test]
    fn stages_add_up_to_the_total() {
        let moments = Moments {
            requested: at(0),
            pod_seen: at(10),
            process: at(30),
            launcher: Times {
                accepted: Some(at(60)),
                spawned: Some(at(100)),
                qmp_ready: Some(at(150)),
                running: Some(at(210)),
                ..Times::default()
            },
            running_seen: at(280),
        };
        let start = split(&moments).expect("all moments");
        assert_eq!(start.total, 210.0);
        assert_eq!(start.stages, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        let torn = Moments {
            launcher: Times::default(),
            ..moments
        };
        assert_eq!(split(&torn), None);
    }
}
