# The part of #cloud-config that this guest honours, as shell:
#
#   user-data -> out/bootcmd, out/runcmd (commands), out/config (files, host name, passwords)
#
# hostname, fqdn, password, chpasswd {list, users}, bootcmd, runcmd, write_files {path, content,
# permissions, append, encoding: b64}. YAML is read line by line: block and flow lists of scalars,
# block maps, `|` and `>` scalars, quoted scalars. Every other key is named on standard output.
function quote(s) { gsub(/'/, "'\\''", s); return "'" s "'" }
function indent(s) { match(s, /^ */); return RLENGTH }
function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t\r]+$/, "", s); return s }
function scalar(s,   q) {
    s = trim(s); q = substr(s, 1, 1)
    if (q == "\"" && s ~ /^".*"$/) {
        s = substr(s, 2, length(s) - 2); gsub(/\\n/, "\n", s); gsub(/\\t/, "\t", s)
        gsub(/\\"/, "\"", s); gsub(/\\\\/, "\\", s); return s
    }
    if (q == "'" && s ~ /^'.*'$/) { s = substr(s, 2, length(s) - 2); gsub(/''/, "'", s); return s }
    sub(/[ \t]+#.*$/, "", s)
    return s
}
# flow("[a, 'b c', \"d\"]") -> a shell command line of quoted words
function flow(s,   i, c, q, word, line, some) {
    s = trim(s); s = substr(s, 2, length(s) - 2); q = ""; word = ""; line = ""
    for (i = 1; i <= length(s) + 1; i++) {
        c = (i > length(s)) ? "," : substr(s, i, 1)
        if (q != "") {
            if (c == "\\" && q == "\"") { i++; word = word substr(s, i, 1) }
            else if (c == q) q = ""
            else word = word c
        } else if ((c == "\"" || c == "'") && trim(word) == "") { q = c; word = ""; some = 1 }
        else if (c == ",") {
            if (some || trim(word) != "") line = line quote(some ? word : trim(word)) " "
            word = ""; some = 0
        } else if (!(some && c == " ")) word = word c
    }
    return line
}
# value(TEXT, COLUMN): a scalar that may be a block scalar; consumes its lines (deeper than COLUMN)
function value(s, col,   style, text, base, l) {
    s = trim(s)
    if (s !~ /^[|>][-+0-9]*$/) return scalar(s)
    style = substr(s, 1, 1); text = ""; base = -1
    while (at < count) {
        l = lines[at + 1]
        if (trim(l) != "" && indent(l) <= col) break
        at++
        if (base < 0 && trim(l) != "") base = indent(l)
        l = substr(l, base + 1)
        text = text l ((style == ">" && at < count) ? " " : "\n")
    }
    sub(/[\n ]+$/, "", text)
    return (s ~ /-/) ? text : text "\n"
}
function put(file, text) { print text > (out "/" file) }
function unsupported(what) { print "tiny: user-data key '" what "' is not supported: ignored" }
# One element of bootcmd or runcmd, whose dash stands at COLUMN
function command(kind, s, col,   line, l) {
    s = trim(s)
    if (s ~ /^\[.*\]$/) put(kind, flow(s))
    else if (s ~ /^- /) {
        line = quote(scalar(substr(s, 3)))
        while (at < count && indent(lines[at + 1]) > col && trim(lines[at + 1]) ~ /^- /) {
            at++; line = line " " quote(scalar(substr(trim(lines[at]), 3)))
        }
        put(kind, line)
    } else put(kind, value(s, col))
}
function flush_file(   mode, to) {
    if (!("path" in file)) { if (have) print "tiny: write_files entry without path: ignored"; delete file; have = 0; return }
    to = (file["append"] == "true") ? ">>" : ">"
    put("config", "mkdir -p \"$(dirname " quote(file["path"]) ")\"")
    if (file["encoding"] == "b64" || file["encoding"] == "base64")
        put("config", "printf %s " quote(file["content"]) " | base64 -d " to " " quote(file["path"]))
    else if (file["encoding"] == "" || file["encoding"] == "text/plain")
        put("config", "printf %s " quote(file["content"]) " " to " " quote(file["path"]))
    else unsupported("write_files.encoding: " file["encoding"])
    mode = file["permissions"]; sub(/^0o/, "0", mode)
    put("config", "chmod " quote(mode == "" ? "0644" : mode) " " quote(file["path"]))
    delete file; have = 0
}
function password(user, word) {
    put("config", "set_password " quote(user) " " quote(word))
}
function flush_user() { if ("name" in file) password(file["name"], file["password"]); delete file; have = 0 }
# A list of maps below KEY: fields into file[], finish() per element
function maps(key, top,   s, dash, c, k) {
    dash = -1
    while (at < count) {
        s = lines[at + 1]
        if (trim(s) == "" || trim(s) ~ /^#/) { at++; continue }
        c = indent(s)
        if (c < top || (c == top && trim(s) !~ /^-/)) break
        at++
        if (trim(s) ~ /^- /) {
            if (key == "write_files") flush_file(); else flush_user()
            sub(/- /, "  ", s); c = indent(s)
        }
        have = 1; k = trim(s); sub(/:.*$/, "", k)
        sub(/^[^:]*:/, "", s)
        file[k] = value(s, c)
    }
    if (key == "write_files") flush_file(); else flush_user()
}
function chpasswd(   s, c, k, n, pairs, i, p) {
    while (at < count) {
        s = lines[at + 1]
        if (trim(s) == "" || trim(s) ~ /^#/) { at++; continue }
        c = indent(s)
        if (c == 0) break
        at++; k = trim(s); sub(/:.*$/, "", k); sub(/^[^:]*:/, "", s)
        if (k == "users") maps("users", c)
        else if (k == "list") {
            n = split(value(s, c), pairs, "\n")
            for (i = 1; i <= n; i++) if ((p = index(pairs[i], ":")) > 0)
                password(substr(pairs[i], 1, p - 1), substr(pairs[i], p + 1))
        } else if (k != "expire") unsupported("chpasswd." k)
    }
}
{ sub(/\r$/, ""); lines[++count] = $0 }
END {
    at = 0
    while (at < count) {
        at++; line = lines[at]
        if (trim(line) == "" || line ~ /^#/ || line ~ /^---/) continue
        if (line !~ /^[A-Za-z_][A-Za-z0-9_-]*:/) {
            print "tiny: user-data line " at " is not understood: ignored"; continue
        }
        key = line; sub(/:.*$/, "", key); rest = line; sub(/^[^:]*:/, "", rest)
        if (key == "hostname" || key == "fqdn") {
            name = scalar(rest); sub(/\..*$/, "", name)
            put("config", "hostname " quote(name)); continue
        }
        if (key == "password") { password("root", value(rest, 0)); continue }
        if (key == "bootcmd" || key == "runcmd") {
            if (trim(rest) ~ /^\[/) { unsupported(key " as a flow list"); continue }
            while (at < count) {
                line = lines[at + 1]
                if (trim(line) == "" || trim(line) ~ /^#/) { at++; continue }
                if (trim(line) !~ /^- /) break
                at++; col = indent(line); command(key, substr(trim(line), 3), col)
            }
            continue
        }
        if (key == "write_files") { maps(key, 0); continue }
        if (key == "chpasswd") { if (trim(rest) == "") chpasswd(); else if (rest !~ /expire/) unsupported(key " as a flow map"); continue }
        if (key != "ssh_pwauth") unsupported(key)
        while (at < count && (indent(lines[at + 1]) > 0 || lines[at + 1] ~ /^- / || trim(lines[at + 1]) == "")) at++
    }
}
