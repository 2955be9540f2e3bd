# certs.sh: sourced by peers.sh; make_certs DIR writes the certificates of the test servers there, in about half a second.
#
#   ca.pem               the authority the tests trust (WADDLE_PEER_CA); it signs everything below unless said otherwise
#   good.pem .key        localhost, peer.test, *.wild.test, 127.0.0.1, ::1; P-256
#   rsa.pem .key         the same names; RSA 2048
#   chain.pem .key       the same names, signed by an intermediate that the file holds too
#   lonely.pem .key      the same without the intermediate
#   expired.pem .key     the same names, ended on 1 February 2020
#   future.pem .key      the same names, begins in the year 2049
#   wrong_name.pem .key  other.test only
#   self_signed.pem .key the same names, signed by itself
#   untrusted.pem .key   the same names, signed by an authority nobody trusts
#   client.pem .key      for clients: CN=waddle test client
# shellcheck shell=sh

names="DNS:localhost,DNS:peer.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1"

# An `openssl ca` folder is the one way to set both dates that works in every OpenSSL 3.
certs_config() {
  cat <<TEXT
[req]
prompt = no
distinguished_name = none
[none]
[ca]
default_ca = authority
[authority]
database = $1/index.txt
new_certs_dir = $1
rand_serial = yes
unique_subject = no
default_md = sha256
policy = anything
[anything]
commonName = supplied
[for_authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[for_server]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = \${ENV::WADDLE_CERT_NAMES}
[for_client]
basicConstraints = critical,CA:false
extendedKeyUsage = clientAuth
TEXT
}

# new_key NAME [TYPE]: writes NAME.key, of the type ec (P-256) or rsa (2048 bits).
new_key() {
  case ${2:-ec} in
  ec) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$certs/$1.key" ;;
  rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$certs/$1.key" ;;
  esac
}

# sign NAME SUBJECT SECTION SIGNER FROM TO: writes NAME.pem for NAME.key; SIGNER is a name, or the same name to sign itself.
sign() {
  openssl req -new -config "$certs/openssl.cnf" -key "$certs/$1.key" -subj "$2" -out "$certs/$1.csr"
  if [ "$4" = "$1" ]; then
    set -- "$@" -selfsign
  else
    set -- "$@" -cert "$certs/$4.pem"
  fi
  signer=$4 section=$3 out=$1 from=$5 to=$6
  shift 6
  openssl ca -batch -notext -config "$certs/openssl.cnf" -extensions "$section" -in "$certs/$out.csr" -out "$certs/$out.pem" \
    -keyfile "$certs/$signer.key" -startdate "$from" -enddate "$to" "$@"
  rm -f "$certs/$out.csr"
}

# server NAME SIGNER [FROM TO]: a key and a certificate for $names.
server() {
  [ -f "$certs/$1.key" ] || new_key "$1"
  sign "$1" "/CN=$1.peer.test" for_server "$2" "${3:-20240101000000Z}" "${4:-20450101000000Z}"
}

make_certs() {
  certs=$1
  mkdir -p "$certs"
  certs_config "$certs" >"$certs/openssl.cnf"
  : >"$certs/index.txt"
  export WADDLE_CERT_NAMES="$names"
  for authority in ca stranger; do
    new_key $authority
    sign $authority "/CN=waddle test $authority" for_authority $authority 20240101000000Z 20450101000000Z
  done
  new_key intermediate
  sign intermediate "/CN=waddle test intermediate" for_authority ca 20240101000000Z 20450101000000Z
  server good ca
  new_key rsa rsa
  server rsa ca
  server chain intermediate
  cp "$certs/chain.pem" "$certs/lonely.pem"
  cp "$certs/chain.key" "$certs/lonely.key"
  cat "$certs/intermediate.pem" >>"$certs/chain.pem"
  server expired ca 20200101000000Z 20200201000000Z
  server future ca 20490101000000Z 20491231000000Z
  server self_signed self_signed
  server untrusted stranger
  WADDLE_CERT_NAMES=DNS:other.test
  server wrong_name ca
  unset WADDLE_CERT_NAMES
  new_key client
  WADDLE_CERT_NAMES=$names sign client "/CN=waddle test client" for_client ca 20240101000000Z 20450101000000Z
}
