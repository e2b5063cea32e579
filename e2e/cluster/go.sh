# Sourced by the build scripts: a Go that is new enough, and results that appear only when they are whole.
# Needs $label, which messages begin with.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mutt
# The least Go that compiles all of them.
go_needed=1.26.8

say() { printf "%s: %s\n" "$label" "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
missing() { [ ! -e "$out/$1" ]; }

# stage FOLDER: the results go there, and what is being made into $staging below it. One build at a time, others wait and find it done.
stage() {
  out=$1
  mkdir -p "$out"
  exec 9>"$cache/$label.lock"
  flock 9
  staging=$(mktemp -d "$out/.building.XXXXXX")
  trap 'rm -rf "$staging"' EXIT
}

# Go 1.21 and later fetch a newer Go by themselves; an older one can still download it as a module, whose files have no executable bit.
use_go() {
  if ! have go; then say "no Go here: run .ci/setup test"; exit 1; fi
  local minor toolchain="$cache/go-$go_needed"
  minor=$(GOTOOLCHAIN=local go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  export CGO_ENABLED=0 GOFLAGS=-trimpath GOTOOLCHAIN=auto GOWORK=off
  unset GOOS GOARCH GOBIN
  if [ "${minor:-0}" -ge 21 ]; then return; fi
  if [ ! -x "$toolchain/bin/go" ]; then
    say "Go 1.$minor is too old: fetching Go $go_needed"
    local source
    source=$(cd "$staging" && go mod download -json "golang.org/toolchain@v0.0.1-go$go_needed.$(go env GOOS)-$(go env GOARCH)" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    cp -r "$source" "$staging/go"
    chmod -R u+w "$staging/go"
    chmod +x "$staging"/go/bin/* "$staging"/go/pkg/tool/*/*
    rm -rf "$toolchain"
    mv "$staging/go" "$toolchain"
  fi
  PATH=$toolchain/bin:$PATH
}

# publish RESULT…: moves them from $staging to their place.
publish() {
  local result
  for result in "$@"; do mv "$staging/$result" "$out/$result"; done
  say "built $* ($SECONDS s)"
}
