//! Texts required by patterns with look-around or back-references, from the backtracking engine's own parse tree.

use fancy_regex::Expr;

use super::pattern::parse;
use super::required::{LiteralSet, best, required as required_of_hir, single, union};
use crate::fold::fold;

/// The sets that the pattern requires, the rarest first; none if it cannot be told.
pub(super) fn required(pattern: &str) -> Vec<LiteralSet> {
    Expr::parse_tree(pattern).map(|tree| best(collect(&tree.expr))).unwrap_or_default()
}

fn collect(expr: &Expr) -> Vec<LiteralSet> {
    match expr {
        Expr::Literal { val, .. } => single(&fold(val)).into_iter().collect(),
        Expr::Concat(parts) => concat(parts),
        Expr::Alt(branches) => union(branches.iter().map(collect)).into_iter().collect(),
        Expr::Group(sub) => collect(sub),
        Expr::AtomicGroup(sub) => collect(sub),
        Expr::Repeat { child, lo, .. } if *lo > 0 => collect(child),
        Expr::Delegate { inner, .. } => parse(inner, false).map(|hir| required_of_hir(&hir)).unwrap_or_default(),
        // What stands in a look-around or a condition need not be there.
        _ => Vec::new(),
    }
}

fn concat(parts: &[Expr]) -> Vec<LiteralSet> {
    let mut sets = Vec::new();
    let mut run = String::new();
    for part in parts {
        if let Expr::Literal { val, .. } = part {
            run.push_str(&fold(val));
        } else {
            sets.extend(single(&std::mem::take(&mut run)));
            sets.extend(collect(part));
        }
    }
    sets.extend(single(&run));
    sets
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn literals_outside_of_look_around_are_required() {
        let table: [(&str, &[&str]); 5] = [
            (r"(?<!NOT )LINKFLAP (?=x)", &["linkflap "]),
            (r"(\w+) FLAPPING \1", &[" flapping "]),
            (r"(?!QUUXBAZ)\d+", &[]),
            (r"(?:QUUXBAZ|ZZTOPPP)(?=a)", &["quuxbaz", "zztoppp"]),
            (r"(?:QUUXBAZ)?(?=a)", &[]),
        ];
        for (pattern, expected) in table {
            let first = required(pattern).into_iter().next().unwrap_or_default();
            assert_eq!(first.iter().map(|literal| &**literal).collect::<Vec<_>>(), expected, "{pattern}");
        }
    }
}
