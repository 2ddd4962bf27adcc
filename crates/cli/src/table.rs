//! Prints the server's tables as kubectl does: upper-case headings, three spaces between columns.

use apimachinery::table::{ColumnDefinition, Table, TableRow};
use serde_json::Value;

use crate::output::{scalar, visible};

/// How a table is shown; keeps columns and widths for the rows of a watch.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    wide: bool,
    with_namespace: bool,
    /// `virtualmachine.kubevirt.io/`, where several types are shown.
    prefix: String,
    columns: Vec<ColumnDefinition>,
    widths: Vec<usize>,
}

const GAP: usize = 3;

impl Printer {
    pub(crate) fn new(wide: bool, with_namespace: bool, prefix: String) -> Self {
        Self {
            wide,
            with_namespace,
            prefix,
            ..Self::default()
        }
    }

    /// The text of a table; the heading is left out where it was printed before.
    pub(crate) fn render(&mut self, table: &Table) -> String {
        let heading = self.columns.is_empty();
        if heading {
            self.columns.clone_from(&table.column_definitions);
        }
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(table.rows.len() + 1);
        if heading {
            lines.push(self.heading());
        }
        lines.extend(table.rows.iter().map(|row| self.row(row)));
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines {
            let mut pad = 0;
            for (cell, width) in line.iter().zip(&self.widths) {
                text.extend(std::iter::repeat_n(' ', pad));
                text.push_str(cell);
                pad = (width + GAP).saturating_sub(cell.chars().count());
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    fn shown(&self) -> impl Iterator<Item = (usize, &ColumnDefinition)> {
        let wide = self.wide;
        let all = self.columns.iter().enumerate();
        all.filter(move |(_, c)| wide || c.priority == 0)
    }

    fn heading(&self) -> Vec<String> {
        let namespace = self.with_namespace.then(|| "NAMESPACE".to_owned());
        let own = self.shown().map(|(_, c)| visible(&c.name).to_uppercase());
        namespace.into_iter().chain(own).collect()
    }

    fn row(&self, row: &TableRow) -> Vec<String> {
        let namespace = self.with_namespace.then(|| {
            let of = row.object.pointer("/metadata/namespace");
            of.map(cell).unwrap_or_default()
        });
        let own = self.shown().enumerate().map(|(n, (at, column))| {
            let text = row.cells.get(at).map(cell).unwrap_or_default();
            if column.format == "name" || (n == 0 && column.name.eq_ignore_ascii_case("name")) {
                format!("{}{text}", self.prefix)
            } else {
                text
            }
        });
        namespace.into_iter().chain(own).collect()
    }
}

/// One line of text; what follows a line break is cut.
fn cell(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    let text = scalar(value);
    match text.split_once(['\n', '\r', '\u{c}']) {
        Some((first, _)) => format!("{}...", visible(first)),
        None => visible(&text).replace('\t', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let mut table = Table::new(vec![
            ColumnDefinition::new("Name", "string", "").format("name"),
            ColumnDefinition::new("Status", "string", ""),
            ColumnDefinition::new("Ready", "string", ""),
            ColumnDefinition::new("Node", "string", "").wide(),
        ]);
        let row = |cells: Value, namespace: &str| TableRow {
            cells: cells.as_array().unwrap().clone(),
            conditions: Vec::new(),
            object: json!({"metadata": {"namespace": namespace}}),
        };
        table.rows = vec![
            row(json!(["vm1", "Running", true, "host"]), "default"),
            row(json!(["vm-two", "Stopped\nlong", null, ""]), "b"),
        ];
        table
    }

    #[test]
    fn as_kubectl_prints_it() {
        let mut printer = Printer::new(false, false, String::new());
        assert_eq!(
            printer.render(&table()),
            "NAME     STATUS       READY\nvm1      Running      true\nvm-two   Stopped...\n"
        );
    }

    #[test]
    fn wide_with_namespaces_and_types() {
        let mut printer = Printer::new(true, true, "vm/".to_owned());
        assert_eq!(
            printer.render(&table()),
            "NAMESPACE   NAME        STATUS       READY   NODE\ndefault     vm/vm1      Running      true    host\nb           vm/vm-two   Stopped...\n"
        );
    }

    #[test]
    fn a_watch_prints_rows_under_the_same_heading() {
        let mut printer = Printer::new(false, false, String::new());
        printer.render(&table());
        let mut event = table();
        event.column_definitions = Vec::new();
        event.rows.truncate(1);
        assert_eq!(printer.render(&event), "vm1      Running      true\n");
    }
}
