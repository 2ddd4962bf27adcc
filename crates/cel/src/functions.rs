//! The functions that expressions may call: who takes what and gives what.
//!
//! Nothing else of the library can be reached: a function that is not in this table does not compile.

use crate::authorizer;
use crate::limits;
use crate::types::Type;

/// Functions called `namespace.name(..)`.
pub(crate) const QUALIFIED: &[&str] = &[
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "ip.isCanonical",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    "base64.encode",
    "base64.decode",
    "math.greatest",
    "math.least",
    "lists.range",
    "format.named",
    "format.dns1123Label",
    "format.dns1123Subdomain",
    "format.dns1035Label",
    "format.dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix",
    "format.qualifiedName",
    "format.labelValue",
    "format.uri",
    "format.uuid",
    "format.byte",
    "format.date",
    "format.datetime",
    ESCAPE_KEY,
];

/// Escapes a key for a path of a JSON patch; where patches are made.
pub(crate) const ESCAPE_KEY: &str = "jsonpatch.escapeKey";

/// All other names.
const NAMES: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "find",
    "findAll",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "join",
    "reverse",
    "format",
    "slice",
    "flatten",
    "distinct",
    "sort",
    "first",
    "last",
    "isSorted",
    "sum",
    "min",
    "max",
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "dyn",
    "type",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "url",
    "isURL",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
    "ip",
    "isIP",
    "family",
    "isLoopback",
    "isUnspecified",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "cidr",
    "isCIDR",
    "containsIP",
    "containsCIDR",
    "prefixLength",
    "masked",
    "quantity",
    "isQuantity",
    "isInteger",
    "asInteger",
    "asApproximateFloat",
    "sign",
    "add",
    "sub",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "semver",
    "isSemver",
    "major",
    "minor",
    "patch",
    "hasValue",
    "value",
    "or",
    "orValue",
    "validate",
    "path",
    "group",
    "serviceAccount",
    "resource",
    "subresource",
    "namespace",
    "name",
    "fieldSelector",
    "labelSelector",
    "check",
    "allowed",
    "errored",
    "reason",
    "error",
];

/// Whether there is a function of that name.
pub(crate) fn known(name: &str) -> bool {
    NAMES.contains(&name) || QUALIFIED.contains(&name)
}

const IP: Type = Type::Opaque("net.IP");
const CIDR: Type = Type::Opaque("net.CIDR");
const URL: Type = Type::Opaque("kubernetes.URL");
const QUANTITY: Type = Type::Opaque("kubernetes.Quantity");
const SEMVER: Type = Type::Opaque("kubernetes.Semver");
const FORMAT: Type = Type::Opaque("kubernetes.NamedFormat");
/// Text whose size does not follow from that of the arguments.
const TEXT: Type = Type::String(2048);

fn text(ty: &Type) -> bool {
    matches!(ty, Type::String(_) | Type::Dyn)
}

fn list(ty: &Type) -> bool {
    matches!(ty, Type::List(..) | Type::Dyn)
}

fn is(ty: &Type, want: &Type) -> bool {
    ty.fits(want)
}

/// What a call gives; `None` when no overload takes these arguments.
pub(crate) fn result(name: &str, target: Option<&Type>, args: &[Type]) -> Option<Type> {
    match target {
        Some(target) => method(name, target, args),
        None => function(name, args),
    }
}

fn element(ty: &Type) -> Type {
    match ty {
        Type::List(of, _) => (**of).clone(),
        _ => Type::Dyn,
    }
}

fn method(name: &str, target: &Type, args: &[Type]) -> Option<Type> {
    if text(target)
        && let Some(found) = text_method(name, target, args)
    {
        return Some(found);
    }
    if list(target)
        && let Some(found) = list_method(name, target, args)
    {
        return Some(found);
    }
    if let Type::Optional(_) | Type::Dyn = target
        && let Some(found) = optional_method(name, target, args)
    {
        return Some(found);
    }
    if let Some(found) = authorizer::result(name, target, args) {
        return Some(found);
    }
    let on = |want: &[Type]| want.iter().any(|want| is(target, want));
    Some(match (name, args) {
        ("size", []) if matches!(target, Type::Map(..) | Type::Bytes(_)) => Type::Int,
        (
            "getFullYear" | "getMonth" | "getDayOfYear" | "getDayOfMonth" | "getDate"
            | "getDayOfWeek",
            [] | [_],
        ) if on(&[Type::Timestamp]) && args.iter().all(text) => Type::Int,
        ("getHours" | "getMinutes" | "getSeconds" | "getMilliseconds", [] | [_])
            if on(&[Type::Timestamp, Type::Duration]) && args.iter().all(text) =>
        {
            Type::Int
        }
        ("getScheme" | "getHost" | "getHostname" | "getPort" | "getEscapedPath", [])
            if on(&[URL]) =>
        {
            TEXT
        }
        ("getQuery", []) if on(&[URL]) => Type::map(Type::list(TEXT, 128), 128),
        ("family", []) if on(&[IP]) => Type::Int,
        (
            "isLoopback"
            | "isUnspecified"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast",
            [],
        ) if on(&[IP]) => Type::Bool,
        ("string", []) if on(&[IP, CIDR]) => TEXT,
        ("containsIP", [arg]) if on(&[CIDR]) && (text(arg) || is(arg, &IP)) => Type::Bool,
        ("containsCIDR", [arg]) if on(&[CIDR]) && (text(arg) || is(arg, &CIDR)) => Type::Bool,
        ("prefixLength", []) if on(&[CIDR]) => Type::Int,
        ("ip", []) if on(&[CIDR]) => IP,
        ("masked", []) if on(&[CIDR]) => CIDR,
        ("isInteger", []) if on(&[QUANTITY]) => Type::Bool,
        ("asInteger" | "sign", []) if on(&[QUANTITY]) => Type::Int,
        ("asApproximateFloat", []) if on(&[QUANTITY]) => Type::Double,
        ("add" | "sub", [arg])
            if on(&[QUANTITY]) && (is(arg, &QUANTITY) || is(arg, &Type::Int)) =>
        {
            QUANTITY
        }
        ("isGreaterThan" | "isLessThan", [arg]) if on(&[QUANTITY, SEMVER]) && is(arg, target) => {
            Type::Bool
        }
        ("compareTo", [arg]) if on(&[QUANTITY, SEMVER]) && is(arg, target) => Type::Int,
        ("major" | "minor" | "patch", []) if on(&[SEMVER]) => Type::Int,
        ("validate", [arg]) if on(&[FORMAT]) && text(arg) => {
            Type::Optional(Type::list(TEXT, 16).into())
        }
        _ => return None,
    })
}

fn text_method(name: &str, target: &Type, args: &[Type]) -> Option<Type> {
    let size = target.size();
    let int = |ty: &Type| is(ty, &Type::Int);
    Some(match (name, args) {
        ("size", []) => Type::Int,
        ("contains" | "startsWith" | "endsWith" | "matches", [arg]) if text(arg) => Type::Bool,
        ("find", [arg]) if text(arg) => Type::String(size),
        ("findAll", [arg]) if text(arg) => Type::list(Type::String(size), size),
        ("findAll", [arg, limit]) if text(arg) && int(limit) => {
            Type::list(Type::String(size), size)
        }
        ("charAt", [arg]) if int(arg) => Type::String(4),
        ("indexOf" | "lastIndexOf", [arg]) if text(arg) => Type::Int,
        ("indexOf" | "lastIndexOf", [arg, from]) if text(arg) && int(from) => Type::Int,
        ("lowerAscii" | "upperAscii" | "trim" | "reverse", []) => Type::String(size),
        ("replace", [from, to]) if text(from) && text(to) => {
            Type::String(size.saturating_mul(to.size().clamp(1, 1 << 20)))
        }
        ("replace", [from, to, limit]) if text(from) && text(to) && int(limit) => {
            Type::String(size.saturating_mul(to.size().clamp(1, 1 << 20)))
        }
        ("split", [arg]) if text(arg) => Type::list(Type::String(size), size),
        ("split", [arg, limit]) if text(arg) && int(limit) => Type::list(Type::String(size), size),
        ("substring", [from]) if int(from) => Type::String(size),
        ("substring", [from, to]) if int(from) && int(to) => Type::String(size),
        ("format", [arg]) if list(arg) => Type::String(size.saturating_add(arg.size())),
        _ => return None,
    })
}

fn list_method(name: &str, target: &Type, args: &[Type]) -> Option<Type> {
    let of = element(target);
    Some(match (name, args) {
        ("size", []) => Type::Int,
        ("isSorted", []) => Type::Bool,
        ("sum" | "min" | "max", []) => of,
        ("indexOf" | "lastIndexOf", [arg]) if of.fits(arg) => Type::Int,
        ("join", []) if text(&of) => Type::String(target.size().saturating_mul(of.size())),
        ("join", [arg]) if text(&of) && text(arg) => Type::String(
            target
                .size()
                .saturating_mul(of.size().saturating_add(arg.size())),
        ),
        ("reverse" | "distinct", []) => target.clone(),
        ("sort", []) if is_ordered(&of) => target.clone(),
        ("slice", [from, to]) if is(from, &Type::Int) && is(to, &Type::Int) => target.clone(),
        ("first" | "last", []) => Type::Optional(of.into()),
        // How much the inner lists hold is known, how many there are at deeper levels is not.
        ("flatten", []) => match &of {
            Type::List(inner, size) => {
                Type::list((**inner).clone(), target.size().saturating_mul(*size))
            }
            Type::Dyn => Type::list(Type::Dyn, target.size()),
            _ => return None,
        },
        ("flatten", [depth]) if is(depth, &Type::Int) => Type::list(Type::Dyn, limits::REQUEST),
        _ => return None,
    })
}

/// Whether values of a type have an order.
fn is_ordered(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Int
            | Type::Uint
            | Type::Double
            | Type::Bool
            | Type::Duration
            | Type::Timestamp
            | Type::String(_)
            | Type::Bytes(_)
            | Type::Dyn
    )
}

fn optional_method(name: &str, target: &Type, args: &[Type]) -> Option<Type> {
    let of = match target {
        Type::Optional(of) => (**of).clone(),
        _ => Type::Dyn,
    };
    Some(match (name, args) {
        ("hasValue", []) => Type::Bool,
        ("value", []) => of,
        ("or", [arg]) if is(arg, target) => target.or(arg),
        ("orValue", [arg]) if of.fits(arg) => of.or(arg),
        _ => return None,
    })
}

fn function(name: &str, args: &[Type]) -> Option<Type> {
    if name.starts_with("math.") {
        return args
            .iter()
            .all(|arg| {
                matches!(
                    arg,
                    Type::Int | Type::Uint | Type::Double | Type::Dyn | Type::List(..)
                )
            })
            .then(|| args.first().cloned().unwrap_or(Type::Dyn));
    }
    if name.starts_with("format.") {
        return Some(match (name, args) {
            ("format.named", [arg]) if text(arg) => Type::Optional(FORMAT.into()),
            ("format.named", _) => return None,
            (_, []) => FORMAT,
            _ => return None,
        });
    }
    let number = |ty: &Type| matches!(ty, Type::Int | Type::Uint | Type::Double | Type::Dyn);
    Some(match (name, args) {
        (
            "size",
            [Type::String(_) | Type::Bytes(_) | Type::List(..) | Type::Map(..) | Type::Dyn],
        ) => Type::Int,
        ("matches", [a, b]) if text(a) && text(b) => Type::Bool,
        ("dyn", [_]) => Type::Dyn,
        ("type", [_]) => Type::Kind,
        ("int", [arg]) if number(arg) || text(arg) || is(arg, &Type::Timestamp) => Type::Int,
        ("uint", [arg]) if number(arg) || text(arg) => Type::Uint,
        ("double", [arg]) if number(arg) || text(arg) => Type::Double,
        ("bool", [arg]) if text(arg) || is(arg, &Type::Bool) => Type::Bool,
        ("string", [arg]) => match arg {
            Type::String(size) | Type::Bytes(size) => Type::String(*size),
            Type::List(..) | Type::Map(..) | Type::Object(_) | Type::Optional(_) | Type::Null => {
                return None;
            }
            Type::Dyn => Type::String(limits::REQUEST),
            _ => Type::String(64),
        },
        ("bytes", [arg]) if text(arg) || matches!(arg, Type::Bytes(_)) => Type::Bytes(arg.size()),
        ("timestamp", [arg]) if text(arg) || is(arg, &Type::Int) || is(arg, &Type::Timestamp) => {
            Type::Timestamp
        }
        ("duration", [arg]) if text(arg) || is(arg, &Type::Duration) => Type::Duration,
        ("url", [arg]) if text(arg) => URL,
        ("ip", [arg]) if text(arg) => IP,
        ("cidr", [arg]) if text(arg) => CIDR,
        ("quantity", [arg]) if text(arg) => QUANTITY,
        ("semver", [arg]) if text(arg) => SEMVER,
        ("semver", [arg, _]) if text(arg) => SEMVER,
        ("string", []) => return None,
        ("isURL" | "isIP" | "isCIDR" | "isQuantity" | "isSemver" | "ip.isCanonical", [arg])
            if text(arg) =>
        {
            Type::Bool
        }
        ("isSemver", [arg, _]) if text(arg) => Type::Bool,
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b])
            if list(a) && list(b) && a.fits(b) =>
        {
            Type::Bool
        }
        ("optional.of" | "optional.ofNonZeroValue", [arg]) => Type::Optional(arg.clone().into()),
        ("lists.range", [size]) if is(size, &Type::Int) => Type::list(Type::Int, limits::CALL_COST),
        ("optional.none", []) => Type::Optional(Type::Dyn.into()),
        ("base64.encode", [arg]) if matches!(arg, Type::Bytes(_) | Type::Dyn) => {
            Type::String(arg.size().saturating_mul(2))
        }
        (ESCAPE_KEY, [arg]) if text(arg) => Type::String(arg.size().saturating_mul(2)),
        ("base64.decode", [arg]) if text(arg) => Type::Bytes(arg.size()),
        _ => return None,
    })
}
