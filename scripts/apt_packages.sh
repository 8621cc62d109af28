#!/usr/bin/env bash
# Debian packages that the tests use, installed where they are missing. Called by `make test` and so by CI.
#
#     scripts/apt_packages.sh
#
# Without root or apt it names what is missing and goes on: the tests that need it say so (and fail where CI is set).
set -euo pipefail

packages=(
    alsa-utils              # real recordings of a voice, for the tests
    clang                   # the second compiler that the C sources must be clean with
    cmake                   # a program that finds the installed C library with it
    pkg-config              # or with this
    libclang-rt-dev         # its sanitizers and libFuzzer
    gcc-aarch64-linux-gnu   # the NEON kernels, compiled here
    libc6-dev-arm64-cross
    gcc-arm-none-eabi       # exported models, compiled for Cortex-M here
    libnewlib-arm-none-eabi
    qemu-system-arm         # and run on emulated boards
    gcc-arm-linux-gnueabihf # 32-bit ARM
    libc6-dev-armhf-cross
    gcc-riscv64-linux-gnu
    libc6-dev-riscv64-cross
    clang-16                # RISC-V's vectors; does not become `clang`
    qemu-user               # and run here
    lld                     # WebAssembly, compiled by clang
    wasi-libc
    libclang-rt-dev-wasm32
    nodejs                  # and run here
    chromium                # and here
    node-typescript         # the types of the JavaScript package, checked
    valgrind                # the kernels' reads and writes, checked
)

if ! command -v dpkg-query >/dev/null; then
    echo "apt_packages: not a Debian-like system; the tests want these tools: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "apt_packages: missing, please install as root: apt-get install ${missing[*]}" >&2
    exit 0
fi
echo "apt_packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=3 update </dev/null
apt-get -qq -y -o Acquire::Retries=3 install --no-install-recommends "${missing[@]}" </dev/null >/dev/null
