/** Certificates for a test, made by openssl(1), in the layout of nbdkit and qemu. */
import { mustRun } from '../../src/demo/command.ts'

/** An authority in `folder`, and a server's certificate of it for `name`. */
export async function makeCertificates(folder: string, name: string): Promise<void> {
  const make = (subject: string, stem: string, ...words: string[]) =>
    mustRun([
      ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
      ...['-nodes', '-days', '2', '-subj', `/CN=${subject}`],
      ...['-keyout', `${folder}/${stem}-key.pem`, '-out', `${folder}/${stem}-cert.pem`, ...words],
    ])
  await make('authority', 'ca')
  await make(
    name,
    'server',
    ...['-addext', `subjectAltName=DNS:${name},IP:127.0.0.1`],
    ...['-addext', 'basicConstraints=CA:FALSE'],
    ...['-CA', `${folder}/ca-cert.pem`, '-CAkey', `${folder}/ca-key.pem`],
  )
}
