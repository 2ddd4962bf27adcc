#!/usr/bin/env python3
"""Which fields of Kubernetes' types are written when they are empty: facts for the API server.

Usage: typed-fields.py API_CHECKOUT > crates/apiserver/src/registry/typed_fields.tsv

API_CHECKOUT is a work tree of k8s.io/api at the version of `crates/schema`. Reads the JSON tags of the Go structs:
a field without `omitempty`, or a struct that is no pointer, is always written; a plain text, number or bool with
`omitempty` vanishes at zero. A definition a line: name, always-written fields with their empty value, vanishing ones.
Types of other repositories are few and are written down below.
"""

import json
import re
import sys
from pathlib import Path

GROUPS = """admissionregistration apps authentication authorization autoscaling batch coordination core discovery
events flowcontrol networking node policy rbac scheduling storage""".split()
IMPORTS = {"v1": "core", "corev1": "core", "metav1": "meta", "authenticationv1": "authentication", "rbacv1": "rbac"}
OTHERS = """io.k8s.apimachinery.pkg.apis.meta.v1.Condition\ttype="" status="" lastTransitionTime=null reason="" message=""\tobservedGeneration
io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement\tkey="" operator=""\t
io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService\tspec={} status={}\t"""
ZERO = {"text": '""', "bool": "false", "number": "0"}


def read(checkout):
    """Structs and other types by (group, name)."""
    structs, aliases = {}, {}
    for group in GROUPS:
        for path in (checkout / group / "v1").glob("*.go"):
            source = path.read_text()
            source = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
            for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", source, re.S | re.M):
                lines = (line.strip() for line in body.split("\n"))
                structs[group, name] = [m.groups() for m in (re.match(r"^(?:\w+\s+)?(\S+)\s+`(.*)`", line) for line in lines if not line.startswith("//")) if m]
            for name, target in re.findall(r"^type (\w+) =? ?(map\[.*|[\w.\[\]*]+)$", source, re.M):
                aliases[group, name] = target
    return structs, aliases


def kind(types, group, name):
    """How a field of a type is written when it is empty."""
    structs, aliases = types
    if name.startswith(("*", "[]", "map[")):
        return "null"
    plain = {"string": "text", "bool": "bool"}.get(name)
    if plain or re.match(r"^(u?int\d*|float\d+)$", name):
        return plain or "number"
    package, _, base = name.rpartition(".")
    package = IMPORTS.get(package, package) or group
    if package == "meta":
        return {"Time": "time", "MicroTime": "time", "LabelSelectorOperator": "text", "ConditionStatus": "text"}.get(base, "struct")
    known = {"intstr": "port", "resource": "amount", "types": "text", "runtime": "raw"}.get(package)
    if known:
        return known
    if (package, base) in structs:
        return "struct"
    return kind(types, package, aliases[package, base])


def fields(types, group, name):
    """JSON name, type, options of the tag and group of each field, embedded ones included."""
    for ty, tags in types[0][group, name]:
        tag = re.search(r'json:"([^"]*)"', tags)
        if not tag:
            continue
        json_name, *options = tag.group(1).split(",")
        if "inline" not in options:
            yield json_name, ty, options, group
        elif not ty.startswith("metav1."):
            package, _, base = ty.rpartition(".")
            yield from fields(types, IMPORTS.get(package, package) or group, base)


def facts(types, group, name, known):
    always, omitted = [], []
    for field, ty, options, owner in fields(types, group, name):
        if field == "metadata":
            if name.endswith("Template") or name.endswith("TemplateSpec"):
                always.append("metadata={}")
            continue
        if field not in known:
            continue
        optional = bool({"omitempty", "omitzero"} & set(options))
        how = kind(types, owner, ty)
        if how == "struct":
            always.append(field + "={}")
        elif how in ("port", "amount"):
            always.append(field + ("=0" if how == "port" else '="0"'))
        elif how == "time" or (how in ("null", "raw") and not optional):
            always.append(field + "=null")
        elif how in ZERO:
            omitted.append(field) if optional else always.append(f"{field}={ZERO[how]}")
    return always, omitted


def main():
    types = read(Path(sys.argv[1]))
    definitions = Path(__file__).parent.parent / "crates/schema/src/data/definitions.tsv"
    for line in sorted(definitions.read_text().splitlines()):
        name, *_, schema = line.split("\t")
        match = re.match(r"io\.k8s\.api\.(\w+)\.v1\.(\w+)$", name)
        if match and match.groups() in types[0]:
            always, omitted = facts(types, *match.groups(), json.loads(schema).get("properties", {}))
            if always or omitted:
                print(f"{name}\t{' '.join(always)}\t{' '.join(omitted)}")
    print(OTHERS)


main()
