//! Reports against their schema and document.

use hopsight_export::{
    Exporter,
    inventory::Source,
    report::{DriftLog, Material, Report, Table},
};
use hopsight_posture::hops::table::{HopLimits, Snapshot};
use hopsight_tests::schema::Document;
use hopsight_tools::made_up;
use serde_json::Value;

use crate::{
    document,
    json::{assert_valid, schema},
};

/// A report on made-up hops, and on the example in HOPS.md, which has every field.
fn reports() -> Vec<Report> {
    let exporter = Exporter::new(HopLimits::default());
    for number in 0..200 {
        exporter.record(&made_up::connection(number % 40, number));
    }
    let text = document("HOPS.md");
    let [block] = &crate::blocks(&text, "json")[..] else { panic!("one example") };
    let example: Snapshot = serde_json::from_str(block).unwrap();
    let text = document("EVENTS.md");
    let events = crate::blocks(&text, "json");
    let report = |hops: Snapshot| {
        let mut drift = DriftLog::default();
        for event in &events {
            let event: Value = serde_json::from_str(event).unwrap();
            assert!(drift.add(&event.to_string()), "{event}");
        }
        let answers = vec![Source { name: "node-1.json".to_owned(), hops }];
        Report::of(Material { answers, drift, ..Material::default() }, 1_795_953_500.0)
    };
    vec![report(exporter.hops()), report(example)]
}

#[test]
fn a_report_is_as_its_document_says() {
    let mut instances = Vec::new();
    for report in reports() {
        instances.push(serde_json::from_str(&report.json().unwrap()).unwrap());
    }
    assert_valid(Document::Report, &instances);
    let text = document("REPORT.md");
    let schema = schema("report.schema.json");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let Some(properties) = definition["properties"].as_object() else { continue };
        for field in properties.keys() {
            assert!(text.contains(&format!("`{field}`")), "{field} of {name} is not described");
        }
    }
    for field in schema["properties"].as_object().unwrap().keys() {
        assert!(instances.iter().all(|report| report.get(field).is_some()), "{field}");
    }
    assert_eq!(instances[1]["exemptions"].as_array().unwrap().len(), 1, "that of the example");
}

#[test]
fn every_requirement_is_in_the_document() {
    let text = document("REPORT.md");
    for report in reports() {
        for one in &report.requirements {
            let section = one.requirement.split([',', ' ']).next().unwrap();
            let is_there = |line: &str| line.contains(one.framework) && line.contains(section);
            assert!(text.lines().any(is_there), "{} {section}", one.framework);
        }
        assert!(report.csv(Table::Hops).unwrap().lines().count() > 1);
    }
}
