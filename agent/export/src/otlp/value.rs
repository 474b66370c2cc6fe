//! JSON as values of OTLP.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList, any_value};
use serde_json::Value;

use super::attribute;

/// A value of JSON. In an object a null says nothing and is left out.
pub(super) fn any(value: Value) -> AnyValue {
    use any_value::Value as Any;

    let value = match value {
        Value::Null => None,
        Value::Bool(truth) => Some(Any::BoolValue(truth)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Any::IntValue(whole),
            (None, float) => Any::DoubleValue(float.unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Array(values) => {
            Some(Any::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() }))
        }
        Value::Object(object) => {
            let known = object.into_iter().filter(|(_, value)| !value.is_null());
            let values = known.map(|(key, value)| attribute(&key, any(value))).collect();
            Some(Any::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}
