//! The format `table`, drawn as by etcdctl 3.7 and later.

use std::io::{self, Write};

use super::Health;
use crate::duration::Go;

pub(super) fn health(out: &mut dyn Write, reply: &[Health], _hex: bool) -> io::Result<()> {
    let rows: Vec<[String; 4]> = reply
        .iter()
        .map(|health| {
            [
                health.endpoint.clone(),
                health.error.is_none().to_string(),
                Go(health.took).to_string(),
                health.error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(out, ["ENDPOINT", "HEALTH", "TOOK", "ERROR"], &rows)
}

/// Draws a table with centred heads and right-aligned cells.
fn table<const N: usize>(
    out: &mut dyn Write,
    heads: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.fold(heads[column].len(), usize::max)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let rule = |left: &str, middle: &str, right: &str| {
        let lines = widths.map(|width| "─".repeat(width + 2));
        format!("{left}{}{right}", lines.join(middle))
    };
    writeln!(out, "{}", rule("┌", "┬", "┐"))?;
    let cells: [String; N] = std::array::from_fn(|column| {
        let (head, width) = (heads[column], widths[column]);
        format!(" {head:^width$} ")
    });
    writeln!(out, "│{}│", cells.join("│"))?;
    writeln!(out, "{}", rule("├", "┼", "┤"))?;
    for row in rows {
        let cells: [String; N] = std::array::from_fn(|column| {
            let (cell, width) = (&row[column], widths[column]);
            format!(" {cell:>width$} ")
        });
        writeln!(out, "│{}│", cells.join("│"))?;
    }
    writeln!(out, "{}", rule("└", "┴", "┘"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tables_are_drawn_as_etcdctl_draws_them() {
        let health = |endpoint: &str, took, error: Option<&str>| Health {
            endpoint: endpoint.to_owned(),
            took: Duration::from_nanos(took),
            error: error.map(str::to_owned),
        };
        let reply = [
            health("127.0.0.1:33790", 4_121_273, None),
            health(
                "127.0.0.1:1",
                5_001_117_572,
                Some("context deadline exceeded"),
            ),
        ];
        let mut out = Vec::new();
        super::health(&mut out, &reply, false).unwrap();
        let expected = "\
┌─────────────────┬────────┬──────────────┬───────────────────────────┐
│    ENDPOINT     │ HEALTH │     TOOK     │           ERROR           │
├─────────────────┼────────┼──────────────┼───────────────────────────┤
│ 127.0.0.1:33790 │   true │   4.121273ms │                           │
│     127.0.0.1:1 │  false │ 5.001117572s │ context deadline exceeded │
└─────────────────┴────────┴──────────────┴───────────────────────────┘
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
