//! What a person wants to see when a test fails.

use crate::Platform;

/// Lines of the platform's log.
const TAIL: usize = 80;

/// Prints objects, events and the end of the log.
pub(crate) async fn show(platform: &Platform) {
    for args in [
        &["get", "vm,vmi,dv,pvc,pv,pods", "-A", "-o", "wide"][..],
        &["get", "events", "-A", "--sort-by=.metadata.resourceVersion"],
        &[
            "get",
            "vm,vmi,dv",
            "-A",
            "-o",
            "jsonpath={range .items[*]}{.kind} {.metadata.name}: {.status}{\"\\n\"}{end}",
        ],
    ] {
        let said = match platform.kubectl().output(args, "").await {
            Ok(output) => format!("{}{}", output.stdout, output.stderr),
            Err(error) => format!("{error:#}"),
        };
        eprintln!("---- kubectl {}\n{said}", args.join(" "));
    }
    for (name, text) in platform.pod_logs() {
        eprintln!("---- {name}\n{}", tail(&text));
    }
    eprintln!("---- ferrovirt up\n{}", tail(&platform.log()));
}

/// The last lines.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
