//! `config`: settings that change at run time. They stand in Redis (`<prefix>:settings`), which the workers re-read
//! every five seconds; each change is a row of the configuration audit.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mutt_queue::settings as store;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::input::{Body, Fields, PathParams};
use super::openapi::{BadRequest, Conflict, MediaType, NotFound, TooLarge, Unauthorized, Unavailable};
use crate::rules::change::{Target, record};

/// The name under which settings stand in the configuration audit.
pub(crate) const TABLE: &str = "settings";

/// A setting that can change at run time.
struct Setting {
    key: &'static str,
    /// What the workers use if neither their environment nor anybody here says otherwise.
    default: f64,
    min: f64,
    max: f64,
    whole: bool,
    meaning: &'static str,
}

const fn whole(key: &'static str, default: f64, min: f64, max: f64, meaning: &'static str) -> Setting {
    Setting { key, default, min, max, whole: true, meaning }
}

/// The contract's settings, each with the bounds that the workers' own settings have.
const SETTINGS: [Setting; 7] = [
    whole("max_ingest_queue_size", 1e6, 1.0, 1e12, "events in the queue from which on the ingestor answers 503"),
    whole("unhandled_threshold", 100.0, 1.0, 1e9, "unhandled events of one kind that raise a meta-alert"),
    whole("unhandled_expiry_seconds", 86_400.0, 1.0, 31_536_000.0, "seconds within which they count"),
    whole("moog_rate_limit", 50.0, 0.0, 1e6, "alerts per period over all forwarders; 0 = no limit"),
    Setting {
        key: "moog_rate_period",
        default: 1.0,
        min: 0.1,
        max: 3_600.0,
        whole: false,
        meaning: "seconds of the period",
    },
    whole("circuit_breaker_threshold", 10.0, 1.0, 1e6, "failures in a row that open the breaker"),
    Setting {
        key: "circuit_breaker_timeout",
        default: 300.0,
        min: 0.1,
        max: 86_400.0,
        whole: false,
        meaning: "seconds until an open breaker lets one probe through",
    },
];

/// All settings that can change at run time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Config {
    /// Key and value: the changed one, else the default.
    config: BTreeMap<&'static str, Value>,
    /// The same with their meaning.
    settings: Vec<SettingView>,
}

/// One setting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingView {
    key: &'static str,
    /// The changed value, else the default.
    #[schema(value_type = f64)]
    value: Value,
    /// What workers use unless their environment says otherwise.
    #[schema(value_type = f64)]
    default: Value,
    /// Whether it was changed here; else each worker's environment decides.
    changed: bool,
    /// Meaning and unit.
    description: &'static str,
}

/// A setting's new value.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct ConfigBody {
    /// A number; null takes the change back, so that the workers' environment decides again.
    #[schema(required = true)]
    value: Option<f64>,
    /// Why, for the configuration audit.
    reason: Option<String>,
}

/// A setting was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigChanged {
    key: &'static str,
    /// The value that counts now; null if the workers' environment decides.
    #[schema(value_type = Option<f64>)]
    value: Value,
    /// What was done.
    message: String,
}

/// The settings that can change at run time.
#[utoipa::path(get, path = "/config", tag = "config", responses(
    (status = 200, body = Config), (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Config>, ApiError> {
    let changed = store::read(&api.redis, &api.keys).await?;
    let settings: Vec<SettingView> = SETTINGS
        .iter()
        .map(|setting| SettingView {
            key: setting.key,
            value: changed.get(setting.key).map_or_else(|| setting.number(setting.default), |text| setting.shown(text)),
            default: setting.number(setting.default),
            changed: changed.contains_key(setting.key),
            description: setting.meaning,
        })
        .collect();
    let config = settings.iter().map(|setting| (setting.key, setting.value.clone())).collect();
    Ok(Json(Config { config, settings }))
}

/// Changes a setting. The workers follow within five seconds.
#[utoipa::path(put, path = "/config/{key}", tag = "config", request_body = ConfigBody,
    params(("key" = String, Path, description = "Name of the setting, as in `GET config`")), responses(
    (status = 200, body = ConfigChanged), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized), (status = 404, response = NotFound),
    (status = 409, response = Conflict), (status = 413, response = TooLarge),
    (status = 415, response = MediaType), (status = 503, response = Unavailable)))]
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    path: PathParams,
    caller: Caller,
    Body(mut fields): Body,
) -> Result<Json<ConfigChanged>, ApiError> {
    let setting = SETTINGS.iter().find(|setting| setting.key == path.key()).ok_or_else(unknown)?;
    api.settings_are_here()?;
    let value = setting.read(&mut fields)?;
    let author = caller.author(fields.reason()?);
    let _one_at_a_time = api.config_lock.lock().await;
    let old = store::read(&api.redis, &api.keys).await?.remove(setting.key);
    let target = Target { table: TABLE, record: setting.key };
    let audited = |text: &Option<String>| text.as_ref().map(|text| json!({ "value": setting.shown(text) }));
    if old != value {
        let mut transaction = api.pool().begin().await?;
        record(&mut transaction, &author, target, audited(&old), audited(&value)).await?;
        let changed = match set(&api, setting.key, value.as_deref()).await {
            Ok(()) => transaction.commit().await.map_err(ApiError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            // Without its audit row the change must not stand, nor one whose answer was lost.
            set(&api, setting.key, old.as_deref()).await?;
            return Err(error);
        }
    }
    let value = value.map_or(Value::Null, |text| setting.shown(&text));
    let message = "Setting updated successfully".to_owned();
    Ok(Json(ConfigChanged { key: setting.key, value, message }))
}

async fn set(api: &Api, key: &str, value: Option<&str>) -> Result<(), ApiError> {
    match value {
        Some(value) => store::write(&api.redis, &api.keys, key, value).await?,
        None => store::remove(&api.redis, &api.keys, key).await?,
    };
    Ok(())
}

fn unknown() -> ApiError {
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    ApiError::NotFound(format!("there is no such setting; there are {}", known.join(", ")))
}

impl Setting {
    /// The text for Redis; `None` to take the change back. MUTT 2.x sent numbers as texts, too.
    fn read(&self, fields: &mut Fields) -> Result<Option<String>, ApiError> {
        let number = match fields.take("value") {
            None => return Err(ApiError::field("value", "is required")),
            Some(None) => return Ok(None),
            Some(Some(Value::Number(number))) => number.as_f64(),
            Some(Some(Value::String(text))) => text.trim().parse().ok(),
            Some(Some(_)) => None,
        };
        if let Some(number) = number.filter(|number| self.accepts(*number)) {
            return Ok(Some(self.number(number).to_string()));
        }
        let kind = if self.whole { "an integer" } else { "a number" };
        Err(ApiError::field("value", format!("must be {kind} from {} to {}", self.min, self.max)))
    }

    fn accepts(&self, number: f64) -> bool {
        (self.min..=self.max).contains(&number) && (!self.whole || number.fract() == 0.0)
    }

    /// An integer where there is no fraction.
    fn number(&self, number: f64) -> Value {
        if self.whole || number.fract() == 0.0 { json!(number as i64) } else { json!(number) }
    }

    /// The value that stands in Redis; what somebody wrote there by hand is shown as it is.
    fn shown(&self, text: &str) -> Value {
        text.parse()
            .ok()
            .filter(|number| self.accepts(*number))
            .map_or_else(|| json!(text), |number| self.number(number))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(key: &str, value: Value) -> Result<Option<String>, String> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
        let mut fields = Fields::default();
        fields.0.insert("value".into(), value);
        setting.read(&mut fields).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_numbers_within_bounds() {
        assert_eq!(read("moog_rate_limit", json!(0)).unwrap().unwrap(), "0");
        assert_eq!(read("moog_rate_limit", json!(25.0)).unwrap().unwrap(), "25");
        assert_eq!(read("moog_rate_limit", json!("30")).unwrap().unwrap(), "30");
        assert_eq!(read("moog_rate_period", json!(0.5)).unwrap().unwrap(), "0.5");
        assert_eq!(read("moog_rate_limit", Value::Null).unwrap(), None);
        for bad in
            [json!(-1), json!(1.5), json!("many"), json!("1e999"), json!("NaN"), json!(true), json!([1]), json!("")]
        {
            let error = read("moog_rate_limit", bad.clone()).unwrap_err();
            assert_eq!(error, "value: must be an integer from 0 to 1000000", "{bad}");
        }
        assert!(read("unhandled_threshold", json!(0)).is_err());
        assert!(read("moog_rate_period", json!(0)).is_err());
    }
}
