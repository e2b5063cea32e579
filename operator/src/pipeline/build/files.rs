//! Secrets as files. A Secret that changes is seen by the running workers and rolls nothing; settings are in the environment, so
//! that a changed one rolls.

use k8s_openapi::api::core::v1::{EnvVar, KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use mutt_crds::pipeline::SecretKey;
use mutt_secrets::SecretName;

/// Below it: a directory per Secret.
const SECRETS: &str = "/etc/mutt/secrets";
/// Below it: a directory per authority.
const AUTHORITIES: &str = "/etc/mutt/ca";
/// Certificate and key of the HTTP ports.
const SERVER: &str = "/etc/mutt/certs";
/// Readable by whatever user the cluster gives the pod.
const READABLE: i32 = 0o444;

/// Environment and volumes of a container, as they come together.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) env: Vec<EnvVar>,
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
}

impl Files {
    /// The values among `names` that the Secret has or will have. All keys are optional: that of a rotation comes and goes, and
    /// whether the others are there is known before anything is built. Other keys of the Secret stay out of the pod.
    pub(super) fn secret(&mut self, what: &str, secret: &str, names: &[SecretName]) {
        let keys = || names.iter().flat_map(|name| name.keys().iter().copied());
        let directory = format!("{SECRETS}/{what}");
        for key in keys() {
            self.set(&format!("{key}_FILE"), format!("{directory}/{key}"));
        }
        self.mount(what, secret, directory, keys().map(|key| (key, key)).collect(), true);
    }

    /// Whom to trust, as the file that the setting `name` names.
    pub(super) fn authority(&mut self, what: &str, name: &str, secret: &SecretKey) {
        let directory = format!("{AUTHORITIES}/{what}");
        self.set(name, format!("{directory}/ca.crt"));
        self.mount(&format!("{what}-ca"), &secret.name, directory, vec![(&secret.key, "ca.crt")], false);
    }

    /// Certificate and key of the HTTP ports.
    pub(super) fn server(&mut self, secret: &str) {
        self.set("SERVER_TLS_CERT_PATH", format!("{SERVER}/tls.crt"));
        self.set("SERVER_TLS_KEY_PATH", format!("{SERVER}/tls.key"));
        let items = vec![("tls.crt", "tls.crt"), ("tls.key", "tls.key")];
        self.mount("tls", secret, SERVER.to_owned(), items, false);
    }

    fn set(&mut self, name: &str, value: String) {
        self.env.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
    }

    fn mount(&mut self, what: &str, secret: &str, directory: String, items: Vec<(&str, &str)>, optional: bool) {
        let name = format!("mutt-{what}");
        let item = |(key, path): (&str, &str)| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None };
        self.volumes.push(Volume {
            name: name.clone(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.to_owned()),
                items: Some(items.into_iter().map(item).collect()),
                default_mode: Some(READABLE),
                optional: optional.then_some(true),
            }),
            ..Volume::default()
        });
        self.mounts.push(VolumeMount { name, mount_path: directory, read_only: Some(true), ..VolumeMount::default() });
    }
}
