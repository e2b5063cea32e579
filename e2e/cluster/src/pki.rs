//! The cluster's own certificate authority, its certificates, and the kubeconfig files made of them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::ClusterError;

const REQUEST_MAX: Duration = Duration::from_secs(30);

/// The CA, with the directory that its files are in.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// Whom a certificate names: `O` is the group for Kubernetes, `CN` the user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) user: &'a str,
    pub(crate) group: Option<&'a str>,
}

/// PEM files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct KeyFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes a CA in `directory`, which must be there.
    pub(crate) fn create(directory: PathBuf) -> Result<Self, ClusterError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = name(Subject { user: "mutt-cluster", group: None });
        let certificate = params.self_signed(&key)?;
        let authority = Self { issuer: Issuer::new(params, key), certificate, directory };
        write(&authority.certificate_file(), &authority.certificate.pem())?;
        let tokens = KeyPair::generate()?;
        let (private, public) = authority.token_keys();
        write(&private, &tokens.serialize_pem())?;
        write(&public, &tokens.public_key_pem())?;
        Ok(authority)
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Issues a certificate that serves under `names` (none: for clients only) as `<file>.crt` and `<file>.key`.
    pub(crate) fn issue(&self, file: &str, subject: Subject<'_>, names: &[String]) -> Result<KeyFiles, ClusterError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name(subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = KeyFiles {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())?;
        Ok(files)
    }

    /// The key pair that signs the tokens of service accounts: private and public file.
    pub(crate) fn token_keys(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("tokens.key"), self.directory.join("tokens.pub"))
    }

    /// An HTTP client that trusts the CA and may do everything.
    pub(crate) fn client(&self) -> Result<reqwest::Client, ClusterError> {
        // A second call finds the provider installed, which is just as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = self.issue("client", Subject { user: "mutt-cluster", group: Some("system:masters") }, &[])?;
        let read = |path: &Path| fs::read(path).map_err(ClusterError::io(format!("read {}", path.display())));
        let identity = [read(&files.certificate)?, read(&files.key)?].concat();
        Ok(reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(self.certificate.pem().as_bytes())?])
            .identity(reqwest::Identity::from_pem(&identity)?)
            .timeout(REQUEST_MAX)
            .no_proxy()
            .build()?)
    }

    /// Issues a client certificate and writes `<file>.kubeconfig` that names its files.
    pub(crate) fn kubeconfig(&self, file: &str, subject: Subject<'_>, server: &str) -> Result<PathBuf, ClusterError> {
        let files = self.issue(file, subject, &[])?;
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "mutt", "cluster": {
                "server": server,
                "certificate-authority": self.certificate_file(),
            }}],
            "users": [{ "name": subject.user, "user": {
                "client-certificate": files.certificate,
                "client-key": files.key,
            }}],
            "contexts": [{ "name": "mutt", "context": { "cluster": "mutt", "user": subject.user } }],
            "current-context": "mutt",
        });
        let path = self.directory.join(format!("{file}.kubeconfig"));
        write(&path, &format!("{config:#}\n"))?;
        Ok(path)
    }
}

fn name(subject: Subject<'_>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = subject.group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, subject.user);
    name
}

/// Writes a file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<(), ClusterError> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(ClusterError::io(format!("write {}", path.display())))
}
