#!/bin/bash
# Builds the image of deploy/docker/Dockerfile and runs it, where no registry of images can be reached: the image it begins with is
# made here, of Debian and a Node from the package registry. Then what an orchestrator relies on is shown: it serves as its own
# user, with a read-only root and no capabilities, its health check is healthy, what was written outlives the container, SIGTERM
# ends it with 0, and its size. Also reads compose.yaml with docker-compose.
#
#   scripts/prove-image.sh [DIRECTORY]     default /tmp/sutra-prove-image; Debian's system is kept there for the next time
#
# Needs root, and of Debian: buildah crun debootstrap docker-compose. Takes some four minutes the first time, then two.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mkdir -p "${1:-/tmp/sutra-prove-image}" && cd "${1:-/tmp/sutra-prove-image}" && pwd)"
tree="$work/debian"
export BUILDAH_ISOLATION=chroot
buildah=(buildah --root "$work/storage" --runroot "$work/run")
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

for tool in buildah crun debootstrap docker-compose; do
  command -v "$tool" >/dev/null || fail "$tool is not there: apt-get install buildah crun debootstrap docker-compose"
done

say 'compose.yaml, read by docker-compose'
# Debian's is of the time before files could name their project.
sed '/^name: sutra$/d' deploy/compose.yaml > "$work/compose.yaml"
compose=(docker-compose --project-directory deploy -f "$work/compose.yaml" config)
"${compose[@]}" --quiet
"${compose[@]}" --services | sort | tr '\n' ' '
echo

mapfile -t from < <(sed -n 's/^FROM \([^ ]*\).*/\1/p' deploy/docker/Dockerfile | sort -u)
[ "${#from[@]}" -eq 1 ] || fail "the Dockerfile begins with ${#from[@]} different images"
[[ "${from[0]}" =~ ^node:([0-9]+)-bookworm-slim$ ]] || fail "${from[0]} is not made here"
major="${BASH_REMATCH[1]}"

say "an image to begin with: Debian bookworm and Node $major, called ${from[0]}"
if [ ! -e "$work/debian.whole" ]; then
  rm -rf "$tree"
  debootstrap --variant=minbase --include=libstdc++6,ca-certificates bookworm "$tree" > "$work/debootstrap.log"
  rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/*
  touch "$work/debian.whole"
fi
node=$(npx -y "node@$major" -p process.execPath 2>/dev/null)
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
rm -rf "$tree/usr/local/lib/node_modules"
mkdir -p "$tree/usr/local/lib/node_modules" "$tree/usr/local/etc"
install -m 0755 "$node" "$tree/usr/local/bin/node"
cp -aL "$npm" "$tree/usr/local/lib/node_modules/npm"
ln -sfn ../lib/node_modules/npm/bin/npm-cli.js "$tree/usr/local/bin/npm"
ln -sfn ../lib/node_modules/npm/bin/npx-cli.js "$tree/usr/local/bin/npx"
# As this machine reaches the registry of packages; where it has authorities of its own, builds need them too.
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
printf 'registry=%s\ncafile=/etc/ssl/certs/ca-certificates.crt\n' "$(npm config get registry 2>/dev/null)" > "$tree/usr/local/etc/npmrc"
base=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$base" "$tree" / > /dev/null
"${buildah[@]}" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$base"
"${buildah[@]}" commit --quiet --rm "$base" "docker.io/library/${from[0]}" > /dev/null

say 'build'
"${buildah[@]}" bud --pull-never --format docker --layers=false -f deploy/docker/Dockerfile -t sutra . > "$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log" >&2; fail "the build; all of it is in $work/build.log"; }
bytes() { "${buildah[@]}" inspect --type image --format '{{.FromImageID}}' "$1" > /dev/null; "${buildah[@]}" images --format '{{.Size}}' "$1"; }
echo "size: $(bytes localhost/sutra), of which $(bytes "docker.io/library/${from[0]}") are the image it begins with"
"${buildah[@]}" inspect --type image --format 'user {{.OCIv1.Config.User}}, entry point {{.OCIv1.Config.Entrypoint}}, command {{.OCIv1.Config.Cmd}}, stop signal {{.OCIv1.Config.StopSignal}}' localhost/sutra


say 'run: as the image says, root read-only, no capabilities, no new privileges'
bundle="$work/bundle"
store="$work/volume"
name="sutra-prove-$$"
port=50951
container=$("${buildah[@]}" from --pull-never localhost/sutra)
root=$("${buildah[@]}" mount "$container")
# In a mount namespace without control groups: Debian's crun refuses a machine that has both kinds.
crun=(unshare --mount sh -c 'mount -t tmpfs none /sys/fs/cgroup && exec crun "$@"' crun --root "$work/crun" --cgroup-manager disabled)
clean() {
  "${crun[@]}" delete --force "$name" > /dev/null 2>&1 || true
  "${buildah[@]}" rm "$container" > /dev/null 2>&1 || true
}
trap clean EXIT
rm -rf "$bundle" "$store"
mkdir -p "$bundle"
# A new volume begins as what the image has in its place.
cp -a "$root/var/lib/sutra" "$store"
(cd "$bundle" && crun spec)
"${buildah[@]}" inspect --type image localhost/sutra > "$bundle/image.json"
ROOT="$root" STORE="$store" BUNDLE="$bundle" PORT="$port" "$node" --input-type=module <<'JS'
import { readFileSync, writeFileSync } from 'node:fs';
const { ROOT, STORE, BUNDLE, PORT } = process.env;
const image = JSON.parse(readFileSync(`${BUNDLE}/image.json`, 'utf8')).Docker.config;
const spec = JSON.parse(readFileSync(`${BUNDLE}/config.json`, 'utf8'));
const [uid, gid] = image.User.split(':').map(Number);
const settings = [`SUTRA_PORT=${PORT}`, 'SUTRA_HOST=127.0.0.1', `SUTRA_STORAGE_SERVER=localhost:${PORT}`];
spec.root = { path: ROOT, readonly: true };
spec.process = {
  ...spec.process,
  terminal: false,
  user: { uid, gid },
  args: [...image.Entrypoint, ...image.Cmd],
  env: [...image.Env.filter((one) => !one.startsWith('SUTRA_STORAGE_SERVER=')), ...settings],
  cwd: image.WorkingDir,
  capabilities: {},
  noNewPrivileges: true,
  rlimits: [],
};
const [volume] = Object.keys(image.Volumes);
spec.mounts.push({ destination: volume, type: 'bind', source: STORE, options: ['rbind', 'rw'] });
// As every runtime does.
writeFileSync(`${BUNDLE}/hosts`, '127.0.0.1 localhost\n::1 localhost\n');
spec.mounts.push({ destination: '/etc/hosts', type: 'bind', source: `${BUNDLE}/hosts`, options: ['rbind', 'ro'] });
// The host's network: nothing here makes one for it. And no control groups, see above.
spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => !/^(network|cgroup)$/.test(type));
spec.mounts = spec.mounts.filter(({ type }) => type !== 'cgroup');
spec.linux.resources = undefined;
writeFileSync(`${BUNDLE}/config.json`, JSON.stringify(spec));
writeFileSync(`${BUNDLE}/health`, image.Healthcheck.Test.slice(1).join('\n'));
writeFileSync(`${BUNDLE}/user`, image.User);
JS
mapfile -t health < "$bundle/health"
user=$(cat "$bundle/user")
inside() { "${crun[@]}" exec --user "$user" "$name" "$@"; }
start() { "${crun[@]}" run --bundle "$bundle" "$name" > "$work/serve.log" 2>&1 & serving=$!; }
# The image's own health check, by its own words, until it is well.
healthy() {
  for _ in $(seq 20); do
    inside "${health[@]}" > "$work/health.log" 2>&1 && return 0
    sleep 1
  done
  cat "$work/serve.log" "$work/health.log" >&2
  fail 'it never got healthy'
}
stop() { "${crun[@]}" kill "$name" TERM; code=0; wait "$serving" || code=$?; [ "$code" -eq 0 ] || { cat "$work/serve.log" >&2; fail "SIGTERM: it ended with $code"; }; }
start
healthy
echo "health check: ${health[*]}: $(cat "$work/health.log")"
status=$(inside cat /proc/1/status)
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|VmRSS)' <<< "$status"
grep -qP "^Uid:\t${user%:*}\t" <<< "$status" || fail "the server does not run as $user"
grep -qP '^CapEff:\t0+$' <<< "$status" || fail 'the server has capabilities'
if inside touch /opt/sutra/x 2> /dev/null; then fail 'the root can be written to'; fi
inside sutra learn dog 'a domestic animal'
stop
say 'what was written is there in the next container; SIGTERM ended it with 0'
start
healthy
inside sutra query dog
stop
say 'the image is built, and runs'
