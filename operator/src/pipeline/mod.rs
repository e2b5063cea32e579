//! Reconcile of a MuttPipeline: fetch → resolve → build → apply → status, one file each.
