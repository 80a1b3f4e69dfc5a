//! The matrix as a document: which cells there are, and why the others are not.

use std::fmt::Write as _;
use std::fs;

use super::cells::{COLUMNS, Flow, Method, ROWS, Reason, all, how};
use crate::support::oracle::project;

/// Where it stands.
const DOCUMENT: &str = "docs/fault-matrix.md";

/// What stands before the table.
const HEAD: &str = "# The fault matrix

A fault of one file, folder, device or peer must not harm anything else. `tests/matrix` makes each fault below with real
servers and a real rsync, on a node that replicates to two others: for one of its ten partitions, or for one of its two
devices. Then it checks four things:

- every healthy partition is on every healthy target, after the first pass, or after the third where something hangs;
- the failure is counted, and a line at WARNING or above names it, at most a few times in a pass;
- the pass ends;
- nothing is lost: every object is whole somewhere when the fault is over.

A cell with `x` is tested for updates and hand-offs, with rsync and SSYNC (except for the columns `rsyncd` and `module`), and
with `rsync_batch` 1 and 128. `make test` runs some of the cells, `make matrix` runs all. A letter stands for the reason,
given below the table, why a cell is not tested. The first columns are about the node that replicates, the later ones
(from \"target's file\" on) about its target.

The tests write this file (`MATRIX_WRITE=1`), and one of them fails if it does not fit what they do.
";

/// The document as the code has it.
fn document() -> String {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut text = format!("{HEAD}\n| |");
    COLUMNS.iter().for_each(|(_, name)| write!(text, " {name} |").expect("a String takes it"));
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(COLUMNS.len()));
    for (row, name) in ROWS {
        write!(text, "\n| {name} |").expect("a String takes it");
        for (column, _) in COLUMNS {
            let mark = match how(row, column) {
                Ok(_) => 'x',
                Err(reason) => {
                    let known = reasons.iter().position(|known| *known == reason);
                    let place = known.unwrap_or_else(|| {
                        reasons.push(reason);
                        reasons.len() - 1
                    });
                    char::from(b'a' + u8::try_from(place).expect("few reasons"))
                }
            };
            write!(text, " {mark} |").expect("a String takes it");
        }
    }
    text.push_str("\n\n");
    for (letter, reason) in ('a'..).zip(&reasons) {
        writeln!(text, "- {letter}: {reason}").expect("a String takes it");
    }
    let cells = all();
    let count = |flow, method| cells.iter().filter(|cell| cell.flow == flow && cell.method == method).count();
    writeln!(
        text,
        "\nCells: {} (updates {} by rsync, {} by SSYNC; hand-offs {} and {}).",
        cells.len(),
        count(Flow::Update, Method::Rsync),
        count(Flow::Update, Method::Ssync),
        count(Flow::Revert, Method::Rsync),
        count(Flow::Revert, Method::Ssync)
    )
    .expect("a String takes it");
    text
}

#[test]
fn the_document_has_the_cells_that_are_made() {
    let path = project().join(DOCUMENT);
    let text = document();
    if std::env::var_os("MATRIX_WRITE").is_some() {
        fs::write(&path, &text).expect("docs/ is writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{DOCUMENT} is not what the tests do: run this test with MATRIX_WRITE=1");
}
