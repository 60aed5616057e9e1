package cli

import "errors"

// errInsecureRedis refuses an address that switches the check of Redis' certificate
// off: it would do so in silence wherever the address is copied to.
var errInsecureRedis = errors.New("REDIS_URL: skip_verify=true would take anybody for Redis: leave it out and put the certificate of Redis' authority " +
	"into the file that SSL_CERT_FILE names, or say --insecure-redis-tls")
