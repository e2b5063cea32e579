//! What has to be read before anything is done, and has not been yet.

use std::collections::BTreeMap;

use kube::core::DynamicObject;

use super::{kinds::ChildKind, mirror::Mirror, watch::Stored};

/// Kinds that are named; behind a limit of rights or of the network, there may be as many as namespaces.
const NAMED_MAX: usize = 10;

/// Kinds, and namespaces if the watches have any; empty = everything has been read.
///
/// A kind of another project is not waited for: its children that are not known are asked for one by one, and none of them is taken
/// for an orphan.
pub(super) fn in_words(
    scopes: &[Option<String>],
    pipelines: &Mirror<Stored>,
    children: &BTreeMap<ChildKind, Mirror<DynamicObject>>,
) -> String {
    let place = |plural: &str, watch: usize| match scopes.get(watch) {
        Some(Some(namespace)) => format!("{plural} in {namespace}"),
        _ => plural.to_owned(),
    };
    let mut unread: Vec<_> = pipelines.unread().map(|watch| place("muttpipelines", watch)).collect();
    for (kind, mirror) in children.iter().filter(|(kind, _)| !kind.is_optional()) {
        let plural = kind.resource().plural;
        unread.extend(mirror.unread().map(|watch| place(&plural, watch)));
    }
    if unread.is_empty() {
        return String::new();
    }
    let more = match unread.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    unread.truncate(NAMED_MAX);
    format!("not read yet: {}{more}", unread.join(", "))
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;

    #[test]
    fn what_has_not_been_read_is_named_and_kinds_of_other_projects_are_not_waited_for() {
        let scopes = ["lab", "netops"].map(|namespace| Some(namespace.to_owned()));
        let mut pipelines = Mirror::new((), 2);
        let mut children: BTreeMap<_, _> =
            ChildKind::ALL.iter().map(|kind| (*kind, Mirror::new(kind.resource(), 2))).collect();
        let begin = in_words(&scopes, &pipelines, &children);
        assert!(begin.starts_with("not read yet: muttpipelines in lab, muttpipelines in netops, "), "{begin}");
        assert!(begin.ends_with(" and 10 more"), "{begin}");
        pipelines.take(0, Event::InitDone);
        pipelines.take(1, Event::InitDone);
        for (kind, mirror) in children.iter_mut().filter(|(kind, _)| !kind.is_optional()) {
            mirror.take(0, Event::InitDone);
            if *kind != ChildKind::Deployment {
                mirror.take(1, Event::InitDone);
            }
        }
        assert_eq!(in_words(&scopes, &pipelines, &children), "not read yet: deployments in netops");
        if let Some(deployments) = children.get_mut(&ChildKind::Deployment) {
            deployments.take(1, Event::InitDone);
        }
        assert_eq!(in_words(&scopes, &pipelines, &children), "");
    }
}
