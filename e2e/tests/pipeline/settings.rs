//! Bad settings: all reported at once, exit code 64, no port opened.

use mutt_e2e::output_of;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn every_bad_setting_is_reported_at_once() {
    let bad = environment(&[
        ("SERVER_PORT_INGESTOR", "99999999"),
        ("MAX_INGEST_QUEUE_SIZE", "many"),
        ("INGEST_ACK", "perhaps"),
        ("REDIS_URL", "http://nowhere"),
        ("INGEST_API_KEY", "key"),
    ]);
    let output = output_of(&["ingestor"], &bad).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for name in ["SERVER_PORT_INGESTOR", "MAX_INGEST_QUEUE_SIZE", "INGEST_ACK", "REDIS_URL"] {
        assert!(text.contains(name), "{name} is not named in: {text}");
    }
}

#[tokio::test]
async fn a_missing_key_is_a_bad_setting() {
    let output = output_of(&["ingestor"], &environment(&[("REDIS_URL", "redis://127.0.0.1:1")])).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("INGEST_API_KEY"), "{text}");
}

#[tokio::test]
async fn unknown_flags_and_unknown_names_in_a_settings_file_are_errors() {
    let output = output_of(&["alerter", "--no-such-flag", "1"], &[]).await;
    assert_eq!(output.status.code(), Some(64), "{}", String::from_utf8_lossy(&output.stderr));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mutt.env");
    std::fs::write(&file, "ALERTER_MAX_RETRYS=3\nNONSENSE=1\n").unwrap();
    let output = output_of(&["alerter", "--settings", file.to_str().unwrap(), "--check"], &[]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("ALERTER_MAX_RETRYS") && text.contains("NONSENSE"), "{text}");
}

#[tokio::test]
async fn check_accepts_good_settings_and_opens_nothing() {
    let good = environment(&[
        // Nothing listens there: a check does not connect.
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("INGEST_API_KEY", "key"),
        // An unknown variable of the environment is never an error.
        ("SOME_OTHER_PROGRAM", "1"),
    ]);
    let output = output_of(&["ingestor", "--check"], &good).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn mutt_dev_checks_the_settings_of_all_roles_before_it_starts_anything() {
    let bad =
        environment(&[("MAX_INGEST_QUEUE_SIZE", "many"), ("UNHANDLED_THRESHOLD", "few"), ("MOOG_MAX_RETRIES", "x")]);
    let output = output_of(&["dev", "--ports", "free"], &bad).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for (name, _) in &bad {
        assert!(text.contains(name), "{name} is not named in: {text}");
    }
}

/// Plain variables of the one container of a Deployment.
fn variables(deployment: &serde_json::Value) -> Vec<(String, String)> {
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().expect("env");
    let text = |variable: &serde_json::Value, key: &str| variable[key].as_str().map(str::to_owned);
    // What is taken from the pod itself (its name) stands for some text.
    let value = |variable| text(variable, "value").unwrap_or_else(|| "core-0".to_owned());
    variables.iter().filter_map(|variable| Some((text(variable, "name")?, value(variable)))).collect()
}

#[tokio::test]
async fn what_the_operator_sets_is_good() {
    let folder = mutt_e2e::repository().join("operator/tests/golden");
    let mut checked = 0;
    for case in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(case.join("children.yaml")).unwrap();
        let objects = text.split("\n---\n").map(|object| serde_saphyr::from_str(object).expect("YAML"));
        for deployment in objects.filter(|object: &serde_json::Value| object["kind"] == "Deployment") {
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            let role = container["args"][0].as_str().unwrap();
            let output = output_of(&[role, "--check"], &variables(&deployment)).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{} of {}: {said}", deployment["metadata"]["name"], case.display());
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked} Deployments checked");
}
