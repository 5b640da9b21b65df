package lock

// LockName returns the server's name of the key's lock.
func (m *MySQL) LockName(key string) string { return m.locker.backend.(*mysqlBackend).lockName(key) }
