#!/bin/sh
# Builds shared OpenSSL libraries of several releases for the tests of the library probe.
#
# The sources come from crates.io (openssl-src), so nothing is downloaded that cargo would not.
# Takes some ten minutes on two cores; the result is kept in $XDG_CACHE_HOME/hopsight/openssl.
set -eu
[ $# -gt 0 ] || set -- 111.28.2 300.2.1 300.5.4

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hopsight/openssl
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src

for release in "$@"; do
    out=$cache/$release
    [ -e "$out/done" ] && continue
    fetch=$cache/fetch-$release
    mkdir -p "$fetch/src"
    : > "$fetch/src/lib.rs"
    cat > "$fetch/Cargo.toml" <<TOML
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
openssl-src = "=$release"
[workspace]
TOML
    (cd "$fetch" && cargo fetch --quiet)
    source=$(find "$registry" -maxdepth 2 -type d -name "openssl-src-$release+*" | head -n 1)
    rm -rf "$out"
    cp -r "$source/openssl" "$out"
    (
        cd "$out"
        # The crate leaves out what OpenSSL 3 needs to build providers as modules, and the script
        # that writes the linker's list of exported symbols.
        case $release in 111.*) options= ;; *) options="no-module zlib" ;; esac
        [ -e util/mkdef.pl ] || cat > util/mkdef.pl <<'PERL'
my ($numbers) = grep { /\.num$/ } @ARGV;
open my $list, '<', $numbers or die "$numbers: $!";
print "OPENSSL_3.0.0 {\n  global:\n";
while (<$list>) {
    my ($name, undef, undef, $state) = split;
    print "    $name;\n" if $state =~ /^EXIST/;
}
print "  local: *;\n};\n";
PERL
        ./config shared no-tests $options >configure.log 2>&1
        nice -n 19 make -j2 build_libs >build.log 2>&1
        # The 1.1.1 client is a test subject too: no system program links that library. The crate
        # has no sources of the later ones, with which nginx runs instead.
        case $release in 111.*) nice -n 19 make -j2 apps/openssl >>build.log 2>&1 ;; esac
        touch done
    )
    rm -rf "$fetch"
    echo "$out"
done
