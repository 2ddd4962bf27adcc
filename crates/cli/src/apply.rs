//! `apply`: server-side apply of manifests, one field manager.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::catalog::{Catalog, Resource, with_query};
use crate::error::Error;
use crate::manifest::{self, Manifest};
use crate::output::print;
use crate::session::Session;

/// Owner of the fields that `apply` sets.
const MANAGER: &str = "ferrovirt";

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrovirt apply -f vm.yaml\n  ferrovirt apply -f manifests/ -n web\n  cat vm.yaml | ferrovirt apply -f -\n  ferrovirt apply -f vm.yaml --dry-run"
)]
pub struct ApplyOptions {
    /// Manifests: files, directories, or - for standard input
    #[arg(short = 'f', long = "filename", required = true, num_args = 1.., value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Take over fields that other managers own
    #[arg(long)]
    force_conflicts: bool,
    /// Let the server check everything and change nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "server", value_parser = ["server", "none"])]
    dry_run: Option<String>,
}

/// Does `apply`.
pub(crate) async fn run(session: &Session, options: &ApplyOptions) -> Result<(), Error> {
    let manifests = manifest::read(&options.files)?;
    let mut catalog = Catalog::fetch(session).await?;
    let mut failed = false;
    for manifest in &manifests {
        // A definition earlier in the same files may have brought the kind.
        if catalog
            .by_kind(&manifest.api_version, &manifest.kind)
            .is_none()
        {
            catalog = Catalog::fetch(session).await?;
        }
        if let Err(error) = one(session, &catalog, manifest, options).await {
            // Without a server the rest would fail in the same way.
            if error.status().is_none() && matches!(error, Error::Request { .. }) {
                return Err(error);
            }
            eprintln!("error: {}", error.render());
            failed = true;
        }
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}

/// The served type of a manifest.
pub(crate) fn resolve<'a>(
    catalog: &'a Catalog,
    manifest: &Manifest,
) -> Result<&'a Resource, Error> {
    catalog
        .by_kind(&manifest.api_version, &manifest.kind)
        .ok_or_else(|| {
            Error::Refused(format!(
                "{}: the server has no kind {:?} in {:?}: is apiVersion right, and is its definition installed?",
                manifest.title(),
                manifest.kind,
                manifest.api_version
            ))
        })
}

async fn one(
    session: &Session,
    catalog: &Catalog,
    manifest: &Manifest,
    options: &ApplyOptions,
) -> Result<(), Error> {
    let resource = resolve(catalog, manifest)?;
    let namespace = manifest.namespace.as_deref().unwrap_or(&session.namespace);
    let path = resource.object(namespace, &manifest.name);
    let title = manifest.title();
    let before = match session.get(&title, &path).await {
        Ok(object) => Some(object),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let mut query = vec![("fieldManager", MANAGER), ("fieldValidation", "Strict")];
    if options.force_conflicts {
        query.push(("force", "true"));
    }
    let dry = options.dry_run.as_deref() == Some("server");
    if dry {
        query.push(("dryRun", "All"));
    }
    let answer = session
        .send(
            &title,
            Method::PATCH,
            &with_query(&path, &query),
            "application/apply-patch+yaml",
            &manifest.object,
        )
        .await?;
    let after: Value = serde_json::from_str(&answer)
        .map_err(|e| Error::Refused(format!("{title}: the answer is not JSON: {e}")))?;
    let version = |o: &Value| o.pointer("/metadata/resourceVersion").cloned();
    let outcome = match before {
        None => "created",
        Some(before) if version(&before) == version(&after) => "unchanged",
        Some(_) => "configured",
    };
    let dry = if dry { " (server dry run)" } else { "" };
    print(&format!(
        "{}/{} {outcome}{dry}\n",
        resource.singular_name(),
        manifest.name
    ))
}
