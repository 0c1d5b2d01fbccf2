// Which authorities this program trusts over TLS. Node by itself trusts a list of its own and NODE_EXTRA_CA_CERTS; every
// other program of the machine trusts the store of the system, where administrators put their private authority.
import { getCACertificates, setDefaultCACertificates } from "node:tls";

/**
 * From now on every connection of this process trusts the authorities in the system's store, too, as they are now: what
 * OpenSSL finds in SSL_CERT_FILE and SSL_CERT_DIR or, without these, where `update-ca-certificates` puts them. Takes some
 * 100 ms, which is why it is not done where nothing is connected to.
 */
export function trustSystemAuthorities(): void {
  setDefaultCACertificates([...getCACertificates("default"), ...getCACertificates("system")]);
}
