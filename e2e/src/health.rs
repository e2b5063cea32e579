//! Argo CD's view of our objects: its health checks run by a Lua interpreter.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::repository;

/// Status and message that Argo CD would show for an object of ours, by the script in `manifests/argocd`.
///
/// # Panics
/// When there is no Lua interpreter, or the script fails.
pub fn argo_cd_health(kind: &str, object: &Value) -> (String, String) {
    let script = repository().join("manifests/argocd/resource_customizations/mutt.dev").join(kind).join("health.lua");
    let mut program = String::from("obj = ");
    literal(object, &mut program);
    program.push_str("\nlocal health = dofile(");
    string(script.to_str().unwrap(), &mut program);
    program.push_str(")\nio.write(health.status, '\\n', health.message)");
    let output = Command::new("lua")
        .arg("-e")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("no Lua interpreter `lua` ({error}): run .ci/setup test"));
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (status, message) = said.split_once('\n').unwrap();
    (status.to_owned(), message.to_owned())
}

/// A JSON value as a Lua expression, as Argo CD hands objects over: null is nil, lists count from 1.
fn literal(value: &Value, lua: &mut String) {
    match value {
        Value::Null => lua.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => write!(lua, "{value}").unwrap(),
        Value::String(text) => string(text, lua),
        Value::Array(items) => {
            lua.push('{');
            for item in items {
                literal(item, lua);
                lua.push(',');
            }
            lua.push('}');
        }
        Value::Object(members) => {
            lua.push('{');
            for (name, member) in members {
                lua.push('[');
                string(name, lua);
                lua.push_str("]=");
                literal(member, lua);
                lua.push(',');
            }
            lua.push('}');
        }
    }
}

/// Decimal escapes are the one form that every Lua reads.
fn string(text: &str, lua: &mut String) {
    lua.push('"');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b' ' {
            lua.push(char::from(byte));
        } else {
            write!(lua, "\\{byte:03}").unwrap();
        }
    }
    lua.push('"');
}
