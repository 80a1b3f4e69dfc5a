//! The alerts and the dashboard that are installed: Prometheus takes the rules, they fire when they are to, and Grafana's
//! panels are where they can be seen. That every metric in them is one of ours, a test beside the metrics says.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::oracle::project;
use crate::support::promtool::promtool;

const ALERTS: &str = "packaging/alerts.yml";
const ALERTS_TEST: &str = "packaging/alerts_test.yml";
const DASHBOARD: &str = "packaging/grafana/swift-object-replicator.json";

fn read(name: &str) -> String {
    fs::read_to_string(project().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Fails if promtool is there and not content.
#[track_caller]
fn is_content(words: &[&str]) {
    if let Some((code, said)) = promtool(words, "") {
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert!(said.contains("SUCCESS") && !said.contains("FAILED"), "{said}");
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

#[test]
fn prometheus_takes_the_alerts_and_they_fire_when_they_are_to() {
    is_content(&["check", "rules", "--lint=all", "--lint-fatal", ALERTS]);
    is_content(&["test", "rules", ALERTS_TEST]);
}

#[test]
fn every_alert_says_what_to_do_and_has_a_case() {
    let (alerts, cases) = (read(ALERTS), read(ALERTS_TEST));
    let alerts: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for key in ["expr:", "for:", "severity:", "summary:", "description:", "runbook:"] {
            assert!(alert.contains(&format!(" {key}")), "{name} has no {key}");
        }
        assert!(cases.contains(name), "{name} has no case");
    }
}

#[test]
fn every_query_of_the_dashboard_is_one() {
    let dashboard = dashboard();
    let targets = panels(&dashboard).iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().expect("a query")).collect();
    assert!(queries.len() > 20, "{queries:?}");
    let rule = |(number, query): (usize, &&str)| {
        format!(
            "      - record: query:number_{number}\n        expr: {}\n",
            Value::from(query.replace("$instance", ".*"))
        )
    };
    let rules: String = queries.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("queries.yml");
    fs::write(&file, format!("groups:\n  - name: queries\n    rules:\n{rules}")).expect("our own folder");
    is_content(&["check", "rules", file.to_str().expect("a plain path")]);
}

#[test]
fn the_panels_of_the_dashboard_are_whole_and_do_not_cover_each_other() {
    let dashboard = dashboard();
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource", "it is for any Prometheus");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(place("w") > 0 && place("x") + place("w") <= 24, "{title}");
        for cell in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "{title} covers another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "table", "timeseries"].contains(&panel["type"].as_str().expect("a type")), "{title}");
        assert!(!panel["description"].as_str().expect("a description").is_empty(), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().expect("an id")).collect();
        assert!(!targets.is_empty() && refs.len() == targets.len(), "{title}");
        assert!(targets.iter().chain([panel]).all(|of| of["datasource"]["uid"] == "${datasource}"), "{title}");
    }
    assert!(ids.len() > 20, "{ids:?}");
}
