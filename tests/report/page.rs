//! The page of a pass's report in a real browser: everything is to be seen, in a wide window and in a narrow one. How the
//! page is built is tested beside the code that builds it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use swift_object_replicator::report::html;
use swift_object_replicator::report::pass_report::PassReport;

const PASS: &str = include_str!("pass.json");

/// Measures the page in a frame of this width, and leaves what it found as the text of the body.
const RULER: &str = r#"<!DOCTYPE html><meta charset="utf-8"><body><iframe src="page.html" style="border:0;height:3000px"></iframe>
<script>
const frame = document.querySelector('iframe');
frame.style.width = WIDTH + 'px';
window.onload = () => {
    const page = frame.contentDocument;
    const box = element => element.getBoundingClientRect();
    const isOpen = e => e.closest('summary') || !e.closest('details:not([open])');
    const coloured = [...page.querySelectorAll('td, div')].filter(e => e.style.background && isOpen(e) && !e.innerText.trim());
    const found = {
        needed: page.documentElement.scrollWidth,
        text: page.body.innerText,
        invisible: coloured.filter(e => box(e).width < 0.5 || box(e).height < 1).length,
        bars: coloured.length,
        tallest: Math.max(...coloured.map(e => box(e).height)),
        outside: [...page.querySelectorAll('td, b, span')].filter(e => box(e).right > page.documentElement.clientWidth + 1).length,
        opens: page.querySelectorAll('details').length,
        paper: frame.contentWindow.getComputedStyle(page.querySelector('main')).backgroundColor,
        ink: frame.contentWindow.getComputedStyle(page.body).color,
    };
    document.body.textContent = JSON.stringify(found);
};
</script>"#;

/// Whether there is a browser. It is large, so that a machine may be without; then everybody is told, whatever the tests'
/// output is captured by.
fn is_there() -> bool {
    let found = Command::new("chromium").arg("--version").stdin(Stdio::null()).output().is_ok();
    if !found {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the report's page in a browser: there is no chromium (apt install chromium)"
        );
    }
    found
}

fn measured(folder: &Path, width: u32, scheme: u32) -> Value {
    let ruler = folder.join(format!("ruler-{width}.html"));
    fs::write(&ruler, RULER.replace("WIDTH", &width.to_string())).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .args(["--window-size=1400,3000", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", ruler.display()))
        .stdin(Stdio::null())
        .output()
        .expect("chromium starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    let body = dom.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
    let (found, _) = body.unwrap_or_else(|| panic!("no body: {output:?}"));
    serde_json::from_str(found).unwrap_or_else(|error| panic!("{error}: {found}"))
}

/// What Chromium calls the two.
const DARK: u32 = 0;
const LIGHT: u32 = 1;

#[test]
fn a_browser_shows_all_of_it_at_any_width() {
    let report: PassReport = serde_json::from_str(PASS).unwrap();
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.html"), html::page(&report)).unwrap();
    for width in [1000, 700, 400, 320] {
        let found = measured(folder.path(), width, LIGHT);
        assert_fits(&found, width);
        let text = found["text"].as_str().unwrap();
        for part in
            ["Replication on node-1", "incomplete", "74.4%", "Over time", "10.0.0.3:6200/sda", "sdc/objects-1/17"]
        {
            assert!(text.contains(part), "{part} is not to be seen: {text}");
        }
        assert_eq!(found["invisible"], 0, "{found}");
        assert!(found["bars"].as_u64().unwrap() > 25 && found["tallest"].as_f64().unwrap() > 50.0, "{found}");
    }
    let dark = measured(folder.path(), 400, DARK);
    assert_eq!((&dark["paper"], &dark["ink"]), (&"rgb(22, 27, 34)".into(), &"rgb(230, 237, 243)".into()));
}

#[track_caller]
fn assert_fits(found: &Value, width: u32) {
    let needed = found["needed"].as_u64().unwrap();
    assert!(
        needed <= u64::from(width) && found["outside"] == 0,
        "it is wider than {width}: {needed}, {}",
        found["outside"]
    );
}

#[test]
fn sixty_devices_and_twelve_hundred_disks_of_peers_fit_into_a_narrow_window() {
    if !is_there() {
        return;
    }
    let mut json: Value = serde_json::from_str(PASS).unwrap();
    let (device, peer) = (json["devices"]["sdc"].clone(), json["peers"]["10.0.0.3:6200/sda"].clone());
    for number in 0..60 {
        json["devices"][format!("a-long-name-of-a-device-{number}-without-a-place-to-break-it-anywhere")] =
            device.clone();
        for disk in 0..20 {
            json["peers"][format!("10.20.{number}.1:6200/d{disk}")] = peer.clone();
        }
    }
    json["peers"]["[fe80:1234:5678:9abc:def0:1234:5678:9abc]:6200/a-long-name-of-a-device-without-a-place-to-break"] =
        peer;
    let report: PassReport = serde_json::from_value(json).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Opened, as somebody may.
    let page = html::page(&report).replace("<details>", "<details open>");
    fs::write(folder.path().join("page.html"), page).unwrap();
    for width in [1000, 400] {
        let found = measured(folder.path(), width, LIGHT);
        assert_fits(&found, width);
        assert_eq!((&found["invisible"], &found["opens"]), (&0.into(), &63.into()));
    }
}
