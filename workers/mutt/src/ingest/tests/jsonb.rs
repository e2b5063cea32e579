//! What the scanner takes, PostgreSQL stores: the scanner's own cases and generated ones through `::jsonb`.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlx::{Connection, PgConnection, Row};

use crate::ingest::parse::{Stamp, parse};
use crate::ingest::scan::Known;

const GENERATED: usize = 400;

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        r#"{"n":1e308,"m":-1E+308,"k":5e-324,"z":-0.0,"e":0e0}"#.to_owned(),
        format!(r#"{{"n":{}}}"#, "9".repeat(1_000)),
        format!(r#"{{"n":{}e308}}"#, "9".repeat(990)),
        format!(r#"{{"n":0.{}1e-400}}"#, "0".repeat(990)),
        r#"{"a":"x\u0000y","k\u0000":"\\u0000","b":"\ud83d\ude00\u0001\u007f"}"#.to_owned(),
        format!(r#"{{"a":{}{}}}"#, "[".repeat(63), "]".repeat(63)),
        r#"{"same":1,"same":{"same":2}}"#.to_owned(),
        "{\"a\":\"\u{10ffff}\u{80}\u{7f}\",\"\":null}".to_owned(),
        r#"{"_a":1,"b":[{"_c":"\u00e4\/"}],"_d":{}}"#.to_owned(),
    ]
    .into();
    let leaf = r"[a-zA-Z0-9 .,:\-+/äöü€😀%{}\[\]\u{1}-\u{20}]{0,30}";
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let member = ("[a-z_\\\\\"]{0,6}", leaf, proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL);
    let object = proptest::collection::vec(member, 0..6);
    for _ in 0..GENERATED {
        let members = object.new_tree(&mut runner).unwrap().current();
        let object: serde_json::Map<String, serde_json::Value> = members
            .into_iter()
            .map(|(key, text, number)| (key, serde_json::json!([text, number, {"t": text}])))
            .collect();
        texts.push(serde_json::Value::Object(object).to_string());
    }
    texts
}

#[tokio::test]
async fn stored_events_are_valid_jsonb() {
    let server = mutt_servers::PostgresServer::shared().await.unwrap();
    let url = server.fresh_database().await.unwrap();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let known = Known::new([]);
    for text in texts() {
        let parsed = parse(text.as_bytes(), &known, false, &Stamp::new(None), 0);
        let parsed = parsed.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let stored = String::from_utf8(parsed.elements).unwrap();
        let row =
            sqlx::query("SELECT ($1::text::jsonb ->> '_event_id') IS NOT NULL").bind(&stored).fetch_one(&mut database);
        let row = row.await.unwrap_or_else(|error| panic!("{stored}: {error}"));
        assert!(row.get::<bool, _>(0), "{stored}");
    }
}
