// What `ssh -L SOCKET:127.0.0.1:PORT` does, until its input ends.
import { rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'

const [path, host, port] = process.argv[2].split(':')
rmSync(path, { force: true })
const server = createServer(near => {
  const far = connect(Number(port), host)
  near.pipe(far).pipe(near)
  for (const socket of [near, far]) socket.on('error', () => near.destroy() && far.destroy())
})
server.listen(path)
process.stdin.resume()
process.stdin.on('end', () => server.close())
