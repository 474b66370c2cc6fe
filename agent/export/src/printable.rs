//! JSON of which no text can do harm where it is shown.

use hopsight_posture::hops::labels::printable;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Longest text that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// The same with every text in it bounded and printable, names of fields included; `None` where it
/// is no JSON, or would be none of its type any more.
#[must_use]
pub(crate) fn texts<T: Serialize + DeserializeOwned>(value: T) -> Option<T> {
    let mut json = serde_json::to_value(value).ok()?;
    clean(&mut json);
    serde_json::from_value(json).ok()
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = printable(text, MAX_TEXT_BYTES).into_owned(),
        Value::Array(all) => all.iter_mut().for_each(clean),
        Value::Object(map) => {
            let fields = std::mem::take(map).into_iter();
            *map = fields
                .map(|(key, mut value)| {
                    clean(&mut value);
                    (printable(&key, MAX_TEXT_BYTES).into_owned(), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn texts_are_bounded_and_printable() {
        let escape = "\u{1b}[31m";
        let hostile = BTreeMap::from([
            ("plain".to_owned(), vec!["as it is".to_owned()]),
            (format!("name{escape}"), vec![escape.to_owned(), escape.repeat(9_999)]),
        ]);
        let shown = texts(hostile).expect("of its type");
        assert_eq!(shown["plain"], ["as it is"]);
        let [short, long] = &shown["name_[31m"][..] else { panic!("{shown:?}") };
        assert_eq!(short, "_[31m");
        assert!(long.len() <= MAX_TEXT_BYTES && !long.contains('\u{1b}'), "{long}");
    }

    #[test]
    fn what_is_none_of_its_type_any_more_is_nothing() {
        let control = BTreeMap::from([('\u{1b}', 1), ('a', 2)]);
        assert_eq!(texts(control), Some(BTreeMap::from([('_', 1), ('a', 2)])));
        assert_eq!(texts(vec![f64::NAN]), None);
    }
}
