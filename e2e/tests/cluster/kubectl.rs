//! kubectl and helm as a user runs them, and shell blocks of the README.

use std::process::Output;

use mutt_e2e::{eventually, repository};
use serde_json::Value;
use tokio::process::Command;

/// What a command printed, or why it failed.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    result(&format!("{program} {}", arguments.join(" ")), &output)
}

fn result(command: &str, output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{command}\n{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// As [`run`], and the command must succeed.
pub(crate) async fn kubectl(arguments: &[&str]) -> String {
    run("kubectl", arguments).await.unwrap_or_else(|error| panic!("{error}"))
}

/// An object as JSON; `None` if it does not exist.
pub(crate) async fn get(namespace: &str, kind: &str, name: &str) -> Option<Value> {
    let text = run("kubectl", &["-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json"]).await;
    let text = text.unwrap_or_else(|error| panic!("{error}"));
    (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
}

/// The objects of a kind as JSON.
pub(crate) async fn list(namespace: &str, kind: &str) -> Vec<Value> {
    let text = kubectl(&["-n", namespace, "get", kind, "-o", "json"]).await;
    let mut list: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

/// Applies manifests given as text.
pub(crate) async fn apply(manifests: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifests).unwrap();
    kubectl(&["apply", "-f", file.path().to_str().unwrap()]).await;
}

/// A condition's status, reason and message as one text; empty if it is not there yet.
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).map_or_else(String::new, |condition| {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", text("status"), text("reason"), text("message"))
    })
}

/// Waits for a condition's text to satisfy `wanted`.
pub(crate) async fn wait_condition(
    namespace: &str,
    kind: &str,
    name: &str,
    condition_type: &str,
    wanted: impl Fn(&str) -> bool,
) {
    eventually(&format!("{kind} {namespace}/{name}: {condition_type}"), async || {
        get(namespace, kind, name).await.is_some_and(|object| wanted(&condition(&object, condition_type)))
    })
    .await;
}

/// Runs the block of the README that follows the mark `<!-- e2e: NAME -->`, exactly as it stands there.
pub(crate) async fn readme(name: &str, environment: &[(&str, String)]) -> String {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let block = block_after(&readme, &format!("<!-- e2e: {name} -->"));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &block])
        .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
        .current_dir(repository())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    result(&format!("README, block {name}"), &output).unwrap_or_else(|error| panic!("{error}"))
}

/// The fenced block after a mark, without the list's indentation.
fn block_after(text: &str, mark: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim() != mark).skip(1);
    let fence = lines.next().unwrap_or_else(|| panic!("the README has no mark {mark}"));
    let indent = fence.len() - fence.trim_start().len();
    assert!(fence.trim_start().starts_with("```"), "no fenced block follows {mark}");
    lines
        .take_while(|line| !line.trim_start().starts_with("```"))
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}
