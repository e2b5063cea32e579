//! What can go wrong with a pipeline, whose fault it is, when to try again, and what to tell.

use std::fmt;

use kube::core::Status;

use super::{kinds::ChildKind, resolve::ResolveError};

/// Whose fault it is, which says when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The owner must change the pipeline; nothing is gained before.
    User,
    /// Something beside the pipeline must change that is not watched (a Secret, an object in the way): looked at again and again.
    Surroundings,
    /// It may pass by itself.
    Transient,
    /// Somebody else wrote at the same moment: at once again.
    Conflict,
    /// The operator does what the API server does not understand.
    Bug,
}

/// What is wrong with one child.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Another object has the name.
    #[error("there is one already that is not this pipeline's{}: rename or delete it, or rename the pipeline", .owner.as_deref().map(|owner| format!(" (it belongs to {owner})")).unwrap_or_default())]
    NameTaken {
        /// Who controls it.
        owner: Option<String>,
    },
    /// Somebody else scales the Deployment.
    #[error(
        "its Deployment is scaled by {0} already, which is not this pipeline's: delete that, or set autoscaling.mode to None"
    )]
    OtherAutoscaler(String),
    /// Its form is refused.
    #[error(
        "the API server refuses its new form, so it stays as it is: {0}; if this is about a field that cannot be changed, delete the {1} by hand: it is made anew"
    )]
    Refused(String, ChildKind),
    /// It is not allowed.
    #[error("the operator may not write it: {0}")]
    Forbidden(String),
    /// The namespace has no room for it.
    #[error("a quota of the namespace leaves no room for it: {0}")]
    OverQuota(String),
    /// The namespace is being deleted, and the pipeline with it.
    #[error("its namespace is being deleted: {0}")]
    NamespaceEnds(String),
    /// Anything else.
    #[error("failed to write it: {0}")]
    Api(String, Class),
}

impl ChildError {
    /// From what the API server said.
    pub fn new(kind: ChildKind, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_invalid() => Self::Refused(status.message, kind),
            // Both come as what a missing right is: 403, Forbidden.
            kube::Error::Api(status) if status.is_forbidden() && status.message.contains("exceeded quota") => {
                Self::OverQuota(status.message)
            }
            kube::Error::Api(status) if status.is_forbidden() && namespace_ends(&status) => {
                Self::NamespaceEnds(status.message)
            }
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden(status.message),
            kube::Error::Api(status) => Self::Api(status.message.clone(), class_of(&kube::Error::Api(status))),
            error => Self::Api(in_words(&error), class_of(&error)),
        }
    }
}

fn namespace_ends(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
        || status.message.contains("because it is being terminated")
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored object is no MuttPipeline.
    #[error("the stored object cannot be read, nothing is done about it: {0}; apply a corrected one")]
    Unreadable(String),
    /// The pipeline cannot be built.
    #[error("{0}")]
    Unresolved(#[from] ResolveError),
    /// A Secret may not be read.
    #[error("Secret {name} cannot be read: {why}")]
    SecretUnread {
        /// Its name.
        name: String,
        /// What the API server said.
        why: String,
        /// How it passes.
        class: Class,
    },
    /// Another pipeline uses the same keys.
    #[error(
        "redis.url and redis.keyPrefix {prefix:?} are those of the older pipeline {other}: their queues would be one. Nothing is started; make this pipeline anew with another redis.keyPrefix"
    )]
    KeyPrefixInUse {
        /// `namespace/name`.
        other: String,
        /// The prefix.
        prefix: String,
    },
    /// A child cannot be written.
    #[error("{kind} {name}: {error}")]
    Child {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// What is wrong.
        error: ChildError,
    },
    /// The operator's own objects do not have the form that it thinks.
    #[error("failed to write an object as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The status cannot be written.
    #[error("failed to write the status: {0}")]
    Status(String, Class),
}

impl Error {
    /// From what the API server said about a status.
    pub fn status(error: &kube::Error) -> Self {
        Self::Status(in_words(error), class_of(error))
    }

    /// Whose fault it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Unresolved(error) if error.waits_for_secret() => Class::Surroundings,
            Self::Unreadable(_) | Self::Unresolved(_) | Self::KeyPrefixInUse { .. } => Class::User,
            Self::SecretUnread { class, .. } | Self::Status(_, class) => *class,
            Self::Child { error, .. } => match error {
                ChildError::NameTaken { .. } | ChildError::OtherAutoscaler(_) | ChildError::Refused(..) => {
                    Class::Surroundings
                }
                ChildError::Forbidden(_) | ChildError::OverQuota(_) | ChildError::NamespaceEnds(_) => Class::Transient,
                ChildError::Api(_, class) => *class,
            },
            Self::Json(_) => Class::Bug,
        }
    }

    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> String {
        let reason = match self {
            Self::Unreadable(_) => "Unreadable",
            Self::Unresolved(error) => return error.reason().to_string(),
            Self::SecretUnread { .. } => "SecretUnreadable",
            Self::KeyPrefixInUse { .. } => "KeyPrefixInUse",
            Self::Child { error, .. } => match error {
                ChildError::NameTaken { .. } => "NameTaken",
                ChildError::OtherAutoscaler(_) => "OtherAutoscaler",
                ChildError::Refused(..) => "ChildRefused",
                ChildError::Forbidden(_) => "Forbidden",
                ChildError::OverQuota(_) => "QuotaExceeded",
                ChildError::NamespaceEnds(_) => "NamespaceTerminating",
                ChildError::Api(..) => "ChildFailed",
            },
            Self::Json(_) => "Bug",
            Self::Status(..) => "StatusFailed",
        };
        reason.to_owned()
    }
}

/// Everything that went wrong in one reconcile.
#[derive(Debug)]
pub struct Failure {
    /// Never empty.
    pub errors: Vec<Error>,
    /// Whether something does not run, besides.
    pub ailing: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { errors: vec![error], ailing: false }
    }
}

impl Failure {
    /// The class that wants the earliest next attempt: one error that waits for a person must not hold up what passes by itself.
    pub fn class(&self) -> Class {
        let order = [Class::Conflict, Class::Transient, Class::Bug, Class::Surroundings];
        order.into_iter().find(|class| self.errors.iter().any(|error| error.class() == *class)).unwrap_or(Class::User)
    }
}

/// When an error of the API server's passes.
pub fn class_of(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) if status.is_conflict() => Class::Conflict,
        kube::Error::Api(status) if status.is_invalid() => Class::Surroundings,
        kube::Error::Api(status) if status.code == 400 => Class::Bug,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => Class::Bug,
        _ => Class::Transient,
    }
}

/// What the API server said, without kube's decoration.
pub fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(code: u16, reason: &str) -> Error {
        child_with(code, reason, "why")
    }

    fn child_with(code: u16, reason: &str, message: &str) -> Error {
        let status = Status { code, reason: reason.into(), message: message.into(), ..Status::default() };
        let error = ChildError::new(ChildKind::Job, kube::Error::Api(Box::new(status)));
        Error::Child { kind: ChildKind::Job, name: "core-database".into(), error }
    }

    #[test]
    fn what_the_api_server_says_has_a_class_and_a_reason() {
        for (code, reason, class, said) in [
            (409, "Conflict", Class::Conflict, "ChildFailed"),
            (422, "Invalid", Class::Surroundings, "ChildRefused"),
            (403, "Forbidden", Class::Transient, "Forbidden"),
            (400, "BadRequest", Class::Bug, "ChildFailed"),
            (404, "NotFound", Class::Transient, "ChildFailed"),
            (429, "TooManyRequests", Class::Transient, "ChildFailed"),
            (500, "InternalError", Class::Transient, "ChildFailed"),
        ] {
            let error = child(code, reason);
            assert_eq!((error.class(), error.reason().as_str()), (class, said), "{code}");
            assert!(error.to_string().starts_with("Job core-database: "), "{error}");
            assert!(error.to_string().contains("why"), "{error}");
        }
    }

    #[test]
    fn what_only_looks_like_a_missing_right_is_told_apart() {
        for (message, said) in [
            ("pods \"x\" is forbidden: exceeded quota: few, requested: count/jobs.batch=1", "QuotaExceeded"),
            (
                "jobs \"x\" is forbidden: unable to create new content in namespace a because it is being terminated",
                "NamespaceTerminating",
            ),
            ("jobs \"x\" is forbidden: User \"y\" cannot patch", "Forbidden"),
        ] {
            assert_eq!(child_with(403, "Forbidden", message).reason(), said);
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_first() {
        let failure = Failure { errors: vec![child(422, "Invalid"), child(500, "InternalError")], ailing: false };
        assert_eq!(failure.class(), Class::Transient);
        assert_eq!(Failure::from(child(422, "Invalid")).class(), Class::Surroundings);
        assert_eq!(Failure::from(Error::Unreadable("no spec".into())).class(), Class::User);
    }
}
