#ifndef LG_COMPAT_H
#define LG_COMPAT_H
#if PG_VERSION_NUM < 150000
#error "pg_lifeguard needs PostgreSQL 15 or newer"
#endif
#endif
