//! Arguments of QEMU that no value can break out of.
//!
//! QEMU reads two forms: JSON (`-blockdev`, `-device`, `-object`), where serde does the quoting, and
//! `key=value,key=value`, where a comma in a value is written twice. Nothing else may make an argument.

use std::ffi::OsString;

use serde_json::Value;

/// The command line under construction.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Vec<OsString>);

impl Arguments {
    /// A switch without a value.
    pub(crate) fn flag(&mut self, name: &str) {
        self.0.push(format!("-{name}").into());
    }

    /// An option whose value is one of ours, not the user's.
    pub(crate) fn fixed(&mut self, name: &str, value: &str) {
        self.flag(name);
        self.0.push(value.into());
    }

    /// An option of the form `head,key=value,...`; an empty head is left out.
    pub(crate) fn keyed(&mut self, name: &str, head: &str, pairs: &[(&str, &str)]) {
        let mut text = escape(head);
        for (key, value) in pairs {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(key);
            text.push('=');
            text.push_str(&escape(value));
        }
        self.fixed(name, &text);
    }

    /// An option in JSON.
    pub(crate) fn json(&mut self, name: &str, value: &Value) {
        self.fixed(name, &value.to_string());
    }

    /// The arguments, without the program.
    pub(crate) fn finish(self) -> Vec<OsString> {
        self.0
    }
}

/// A value of the comma form.
pub(crate) fn escape(value: &str) -> String {
    value.replace(',', ",,")
}
