#!/bin/sh
# What docker-compose.yml runs before everything else: makes what nobody has to choose, once, each secret in the volumes
# of those who read it (/secrets/SERVICE), and puts there what was given (/given). What is there stays, so that nodes,
# Redis and S3 go on knowing each other; `docker compose down --volumes` forgets it with everything else.
set -eu
umask 022

secrets=${SECRETS:-/secrets}
given=${GIVEN:-/given}

say() { echo "make-secrets: $*"; }

# keep NAME BYTES SERVICE...: that many random bytes in hexadecimal, the same for all the services.
keep() {
  name=$1 bytes=$2 first=$3
  shift 2
  if [ ! -s "$secrets/$first/$name" ]; then
    openssl rand -hex "$bytes" | tr -d '\n' >"$secrets/$first/$name.new"
    mv "$secrets/$first/$name.new" "$secrets/$first/$name"
    say "made $name"
  fi
  for service in "$@"; do
    cmp -s "$secrets/$first/$name" "$secrets/$service/$name" || cp "$secrets/$first/$name" "$secrets/$service/$name"
  done
}

# take FILE PLACE: what was given, which may have been readable by its owner only, for the users in the containers.
take() {
  rm -f "$2"
  cat "$1" >"$2"
}

keep redis-password 24 mirror redis
keep s3-access-key-id 10 mirror s3
keep s3-secret-access-key 20 mirror s3
keep node-secret 24 mirror
keep ops-password 16 mirror

if [ -s "$given/upstream-password" ]; then
  take "$given/upstream-password" "$secrets/mirror/upstream-password"
elif [ -n "${ENTREPOT_UPSTREAM_USERNAME:-}" ]; then
  say "ENTREPOT_UPSTREAM_USERNAME is set: put the account's password into a file and its path into ENTREPOT_UPSTREAM_PASSWORD_FILE" >&2
  exit 1
else
  rm -f "$secrets/mirror/upstream-password"
fi

host=${ENTREPOT_HOST:-localhost}
case $host in
  *[!0-9.]*) names="DNS:$host" check=-checkhost ;;
  *) names="IP:$host" check=-checkip ;;
esac
certificate=$secrets/haproxy/self-made.pem
if [ -s "$given/tls.pem" ]; then
  take "$given/tls.pem" "$secrets/haproxy/tls.pem"
  rm -f "$certificate"
elif [ ! -s "$certificate" ] || openssl x509 -in "$certificate" -noout "$check" "$host" | grep -q NOT; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/O=made by docker-compose.yml, known to no authority/CN=self-made certificate of entrepot" \
    -addext "subjectAltName=$names,DNS:localhost,IP:127.0.0.1" \
    -keyout "$secrets/haproxy/key.new" -out "$secrets/haproxy/certificate.new" 2>/dev/null
  cat "$secrets/haproxy/certificate.new" "$secrets/haproxy/key.new" >"$secrets/haproxy/tls.pem.new"
  mv "$secrets/haproxy/tls.pem.new" "$secrets/haproxy/tls.pem"
  mv "$secrets/haproxy/certificate.new" "$certificate"
  rm "$secrets/haproxy/key.new"
  say "made a certificate for $host that clients know only by: docker compose exec haproxy cat /run/secrets/self-made.pem"
fi
