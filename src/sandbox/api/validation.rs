//! What the API server and Istio's webhook refuse in an object.

use serde_json::Value;

use super::kinds::ResourceKind;
use super::status::{ApiStatus, StatusCause};

/// Checks the parts of an object whose type a client can get wrong: first the schema, then Istio's rules,
/// where its webhook is there to check them.
pub(crate) fn check(
    kind: &ResourceKind,
    name: &str,
    object: &Value,
    has_webhook: bool,
) -> Result<(), ApiStatus> {
    strings(object, "labels")?;
    strings(object, "annotations")?;
    let mut causes = Vec::new();
    match kind.plural {
        "virtualservices" => virtual_service_schema(&object["spec"], &mut causes),
        "leases" => lease_schema(&object["spec"], &mut causes),
        _ => {}
    }
    if !causes.is_empty() {
        if kind.custom {
            causes.push(StatusCause {
                reason: "FieldValueInvalid",
                message: "Invalid value: null: some validation rules were not checked because the object \
                          was invalid; correct the existing errors to complete validation"
                    .to_owned(),
                field: "<nil>".to_owned(),
            });
        }
        return Err(ApiStatus::invalid(kind, name, &causes));
    }
    if has_webhook && kind.plural == "virtualservices" {
        istio_rules(&object["spec"])?;
    }
    Ok(())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A JSON type as a Go decoder calls it.
fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        other => type_name(other),
    }
}

fn expect(value: &Value, wanted: &'static str, field: &str, causes: &mut Vec<StatusCause>) {
    // The schema speaks of a fraction in a whole number's place in Go's words.
    let (is, wanted) = match (type_name(value), wanted) {
        ("number", "integer") => ("float64", "int32"),
        named => named,
    };
    if is != "null" && is != wanted {
        causes.push(StatusCause {
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: \"{is}\": {field} in body must be of type {wanted}: \"{is}\""
            ),
            field: field.to_owned(),
        });
    }
}

/// Labels and annotations are decoded before any schema is looked at, so their refusal is another.
fn strings(object: &Value, map: &str) -> Result<(), ApiStatus> {
    let values = object["metadata"][map].as_object().into_iter().flatten();
    for (_, value) in values {
        if !value.is_string() {
            let why = format!(
                "json: cannot unmarshal {} into Go struct field ObjectMeta.{map} of type string",
                go_name(value)
            );
            return Err(ApiStatus::undecodable(object, &why));
        }
    }
    Ok(())
}

fn virtual_service_schema(spec: &Value, causes: &mut Vec<StatusCause>) {
    expect(spec, "object", "spec", causes);
    expect(&spec["hosts"], "array", "spec.hosts", causes);
    for protocol in ["http", "tls", "tcp"] {
        let routes = &spec[protocol];
        expect(routes, "array", &format!("spec.{protocol}"), causes);
        for (i, route) in routes.as_array().into_iter().flatten().enumerate() {
            let field = format!("spec.{protocol}[{i}]");
            expect(route, "object", &field, causes);
            expect(&route["name"], "string", &format!("{field}.name"), causes);
            let field = format!("{field}.route");
            expect(&route["route"], "array", &field, causes);
            for (j, destination) in route["route"].as_array().into_iter().flatten().enumerate() {
                let field = format!("{field}[{j}]");
                expect(destination, "object", &field, causes);
                expect(
                    &destination["weight"],
                    "integer",
                    &format!("{field}.weight"),
                    causes,
                );
                expect(
                    &destination["destination"]["host"],
                    "string",
                    &format!("{field}.destination.host"),
                    causes,
                );
            }
        }
    }
}

fn lease_schema(spec: &Value, causes: &mut Vec<StatusCause>) {
    for (field, least) in [("leaseDurationSeconds", 1), ("leaseTransitions", 0)] {
        let Some(number) = spec[field].as_i64().filter(|number| *number < least) else {
            continue;
        };
        let rule = if least == 1 {
            "must be greater than 0"
        } else {
            "must be greater than or equal to 0"
        };
        causes.push(StatusCause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {number}: {rule}"),
            field: format!("spec.{field}"),
        });
    }
}

/// Istio's own validation, as far as weights and hosts go.
fn istio_rules(spec: &Value) -> Result<(), ApiStatus> {
    let mut wrong = Vec::new();
    let mut any = false;
    for protocol in ["http", "tls", "tcp"] {
        for route in spec[protocol].as_array().into_iter().flatten() {
            any = true;
            let destinations: &[Value] = route["route"].as_array().map_or(&[], Vec::as_slice);
            let mut total = 0;
            for destination in destinations {
                let weight = destination["weight"].as_i64().unwrap_or(0);
                if weight < 0 {
                    wrong.push(format!("weight {weight} < 0"));
                }
                if destination["destination"]["host"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty()
                {
                    wrong.push("empty domain name not allowed".to_owned());
                }
                total += weight;
            }
            if destinations.len() > 1 && total == 0 {
                wrong.push("total destination weight = 0".to_owned());
            }
        }
    }
    if !any {
        wrong.push("http, tcp or tls must be provided in virtual service".to_owned());
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiStatus::webhook_denied(&format!(
            "configuration is invalid: {one}"
        ))),
        many => Err(ApiStatus::webhook_denied(&format!(
            "configuration is invalid: {} errors occurred:\n\t* {}\n\n",
            many.len(),
            many.join("\n\t* ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::ApiStatusBody;
    use super::*;
    use serde_json::json;

    fn refusal(weights: [Value; 2]) -> Option<(u16, String)> {
        let route: Vec<Value> = weights
            .into_iter()
            .map(|weight| json!({"destination": {"host": "reviews"}, "weight": weight}))
            .collect();
        let object =
            json!({"metadata": {}, "spec": {"hosts": ["reviews"], "http": [{"route": route}]}});
        let kind = ResourceKind::by_plural("virtualservices").unwrap();
        let refusal = check(kind, "reviews", &object, true).err()?;
        match refusal.body {
            ApiStatusBody::Status(body) => {
                Some((refusal.code, body["message"].as_str().unwrap().to_owned()))
            }
            ApiStatusBody::Plain(_) => None,
        }
    }

    #[test]
    fn weights_are_refused_as_the_mesh_refuses_them() {
        assert_eq!(refusal([json!(9900), json!(100)]), None);
        assert_eq!(refusal([json!(100), Value::Null]), None);
        let table = [
            ([json!(0), json!(0)], 400, "total destination weight = 0"),
            ([json!(101), json!(-1)], 400, "weight -1 < 0"),
            (
                [json!("1"), json!(99)],
                422,
                "spec.http[0].route[0].weight: Invalid value: \"string\"",
            ),
            (
                [json!(1.5), json!(99)],
                422,
                "must be of type int32: \"float64\"",
            ),
        ];
        for (weights, code, text) in table {
            let (is, message) = refusal(weights).unwrap();
            assert_eq!(is, code);
            assert!(message.contains(text), "{message}");
        }
    }
}
