//! What the demo writes for people.

use std::io::{IsTerminal, Write};

/// Whether colours are wanted: on a terminal, unless <https://no-color.org> says otherwise.
fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn painted(code: &str, text: &str) -> String {
    if colours() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Announces a step.
pub(super) fn step(text: &str) {
    println!("\n{}", painted("1", &format!("==> {text}")));
}

/// A command, as a person would type it.
pub(super) fn command(args: &[&str]) {
    println!(
        "{}",
        painted("36", &format!("$ ferrovirt {}", args.join(" ")))
    );
}

/// A remark.
pub(super) fn say(text: &str) {
    println!("{text}");
}

/// What the guest writes: each line set off from ours, without control characters.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// Whether a line is begun.
    inside: bool,
    /// Inside an escape sequence of a terminal.
    escape: bool,
}

impl Guest {
    /// Prints what came.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        let text = self.shown(&String::from_utf8_lossy(bytes));
        let mut out = std::io::stdout().lock();
        // Whoever reads us may be gone; the demo goes on to its end all the same.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// Ends a line that the guest has begun, so that ours may follow.
    pub(super) fn pause(&mut self) {
        if std::mem::take(&mut self.inside) {
            println!();
        }
    }

    fn shown(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            match c {
                _ if self.escape => self.escape = !c.is_ascii_alphabetic() && c != '\n',
                '\x1b' => self.escape = true,
                '\n' if self.inside => {
                    shown.push('\n');
                    self.inside = false;
                }
                '\n' => shown.push_str("  |\n"),
                c if c.is_control() && c != '\t' => {}
                c => {
                    if !self.inside {
                        shown.push_str("  | ");
                        self.inside = true;
                    }
                    shown.push(c);
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::Guest;

    #[test]
    fn lines_are_set_off_and_control_characters_are_not_passed_on() {
        let mut guest = Guest::default();
        let mut shown = guest.shown("\x1b[2Jhel");
        shown += &guest.shown("lo\r\n\r\n\x07tiny login: ");
        assert_eq!(shown, "  | hello\n  |\n  | tiny login: ");
    }

    #[test]
    fn an_escape_sequence_may_come_in_pieces() {
        let mut guest = Guest::default();
        let mut shown = guest.shown("a\x1b[3");
        shown += &guest.shown("1mb\n");
        assert_eq!(shown, "  | ab\n");
    }
}
