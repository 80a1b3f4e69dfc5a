//! Writes the shells' completions, made from the command line's definition, to `packaging/completions`; `make
//! completions` runs it, and a test says when it is time to.

#[path = "../tests/support/completions.rs"]
mod completions;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions");
    for (name, script) in completions::all() {
        std::fs::write(folder.join(name), script)?;
    }
    Ok(())
}
