//! Single values (B2.7-B2.9).

use serde_json::{Value, json};
use swift_object_replicator::config::value::{self, BadValue};

use super::{Dice, Outcomes};
use crate::support::oracle::Oracle;
use crate::support::seed::Seed;

const PIECES: [&str; 26] = [
    "0",
    "1",
    "9",
    "12",
    "007",
    "_",
    "-",
    "+",
    ".",
    "e",
    "E",
    "inf",
    "nan",
    "auto",
    "%",
    " ",
    "\t",
    "\u{a0}",
    "\x1d",
    "true",
    "yes",
    "x",
    "0x",
    "é",
    ",",
    "9223372036854775807",
];
const WORDS: [&str; 16] = [
    "AUTO",
    "Auto ",
    "True",
    "ON",
    "t",
    "Y",
    "1.5%",
    "-1%",
    "1e3",
    "infinity",
    "-Inf",
    "NaN",
    "1_000.5",
    "-9223372036854775809",
    "1e400",
    "",
];

fn text(dice: &mut Dice) -> String {
    if dice.once_in(4) { dice.pick(&WORDS).to_owned() } else { dice.join(&PIECES, 4) }
}

/// A float as its bits, so that `nan` equals itself.
fn bits(number: f64) -> Value {
    json!(if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() })
}

fn ours(parser: &str, text: &str) -> Result<Value, BadValue> {
    Ok(match parser {
        "boolean" => value::boolean(text).into(),
        "integer" => value::integer(text)?.into(),
        "float" => bits(value::float(text)?),
        "auto_integer" => value::auto_integer(text)?.into(),
        "bytes_or_percent" => value::bytes_or_percent(text).map(|_| Value::Null)?,
        "non_negative_float" => bits(value::non_negative_float(text)?),
        _ => value::list(text).collect(),
    })
}

fn reference(oracle: &mut Oracle, parser: &str, text: &str) -> Result<Value, String> {
    let answer = oracle.ask(&json!({ "parser": parser, "text": text }));
    match answer.get("ok") {
        Some(Value::String(number)) => Ok(bits(number.parse().expect("a float"))),
        Some(value) => Ok(value.clone()),
        None => Err(answer["error"].to_string()),
    }
}

#[test]
fn values_mean_the_same_to_both_or_are_refused_by_both() {
    let mut oracle = Oracle::start("config_files.py");
    for parser in ["integer", "float", "auto_integer", "bytes_or_percent", "non_negative_float", "boolean", "list"] {
        let mut outcomes = Outcomes::default();
        for seed in (0..700).map(Seed::fixed) {
            let text = text(&mut Dice::new(&seed));
            outcomes.compare(&ours(parser, &text), &reference(&mut oracle, parser, &text), || {
                format!("{parser} of {text:?}, {seed}")
            });
        }
        match parser {
            "boolean" | "list" => assert_eq!(outcomes.accepted, 700),
            _ => outcomes.assert_both_reached(50),
        }
    }
}
