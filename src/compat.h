/*-------------------------------------------------------------------------
 * compat.h
 *		What differs between PostgreSQL majors, one entry per difference.
 *
 * The only file that looks at PG_VERSION_NUM.  Built and tested on 15, 17, 18
 * and 19.  On 16 nothing was built or run: its entries follow what its release
 * notes and the neighbouring majors say, and wait to be checked.
 *-------------------------------------------------------------------------
 */
#ifndef LG_COMPAT_H
#define LG_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_lifeguard needs PostgreSQL 15 or newer"
#endif

#include "lib/ilist.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/wait_event.h"

/*
 * Where the backend status array begins, how long it is, and the place of a
 * process in it (-1 while it has none).  Since 17 both arrays share one index.
 * Up to 16 auxiliary processes sit behind all backends, by type, and their
 * PGPROC does not say which: callers find those by PID.
 */
#if PG_VERSION_NUM >= 170000
#define LG_STATUS_BASE (MyBEEntry - MyProcNumber)
#define LG_STATUS_SLOTS (MaxBackends + NUM_AUXILIARY_PROCS)
#define LG_STATUS_INDEX(proc) ((int) ((proc) -ProcGlobal->allProcs))
#define LG_STATUS_AUX_FIRST LG_STATUS_SLOTS
#else
#define LG_STATUS_BASE (MyBEEntry - (MyBackendId - 1))
#define LG_STATUS_SLOTS (MaxBackends + NUM_AUXPROCTYPES)
#define LG_STATUS_INDEX(proc) ((proc)->backendId - 1)
#define LG_STATUS_AUX_FIRST MaxBackends
#endif

/* 16: query ids have moved */
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif

/* 16: a second kind of reserved connection slots, and a new name for the first */
#if PG_VERSION_NUM >= 160000
#define LG_SUPERUSER_RESERVED SuperuserReservedConnections
#define LG_RESERVED ReservedConnections
#else
#define LG_SUPERUSER_RESERVED ReservedBackends
#define LG_RESERVED 0
#endif

/* 17: an extension may name its own wait event */
#if PG_VERSION_NUM >= 170000
#define lg_wait_event(name) WaitEventExtensionNew(name)
#else
#define lg_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 17: the number of a transaction among those of its session has moved */
#if PG_VERSION_NUM >= 170000
#define LG_MY_LXID (MyProc->vxid.lxid)
#else
#define LG_MY_LXID (MyProc->lxid)
#endif

/* 17: a transaction may time out */
#if PG_VERSION_NUM >= 170000
#define LG_ERRCODE_TRANSACTION_TIMEOUT ERRCODE_TRANSACTION_TIMEOUT
#else
#define LG_ERRCODE_TRANSACTION_TIMEOUT MAKE_SQLSTATE('2', '5', 'P', '0', '4')
#endif

/* 19: whoever creates or drops a worker's database may end the worker */
#if PG_VERSION_NUM >= 190000
#define LG_WORKER_INTERRUPTIBLE BGWORKER_INTERRUPTIBLE
#else
#define LG_WORKER_INTERRUPTIBLE 0
#endif

/* 17: wait events of injection points are a class of their own */
#if PG_VERSION_NUM >= 170000
#define LG_WAIT_INJECTION_POINT PG_WAIT_INJECTIONPOINT
#else
#define LG_WAIT_INJECTION_POINT 0x0B000000U
#endif

/* 18: a session shows up before it is authenticated */
#if PG_VERSION_NUM >= 180000
#define LG_STATE_STARTING STATE_STARTING
#else
#define LG_STATE_STARTING STATE_UNDEFINED
#endif

/* 19: what goes to the server log is set for each type of process */
#if PG_VERSION_NUM >= 190000
#define LG_HIDES_FATAL                                                                             \
	(log_min_messages[B_BACKEND] > FATAL || log_min_messages[B_DEAD_END_BACKEND] > FATAL ||        \
	 log_min_messages[B_WAL_SENDER] > FATAL)
#else
#define LG_HIDES_FATAL (log_min_messages > FATAL)
#endif

/* 19: the link of a waiting PGPROC has a name of its own */
#if PG_VERSION_NUM >= 190000
#define LG_WAIT_LINK waitLink
#else
#define LG_WAIT_LINK links
#endif

/* 19: a signal handler is also told who sent the signal, and passes that on */
#if PG_VERSION_NUM >= 190000
#define LG_RAISE(handler, signo) handler(signo, pg_siginfo)
#else
#define LG_RAISE(handler, signo) handler(signo)
#endif

/*
 * Walks over a lock's holders, a lock's queue and a process's own locks.  The
 * partition lock must be held.  Up to 15 these were SHM_QUEUEs.
 *
 * LG_OWNS_NONE() is asked without the lock, so it must be one load: 15's own
 * SHMQueueEmpty() asserts that two pointers agree, which they do not while the
 * owner changes them.
 */
#if PG_VERSION_NUM >= 160000
#define LG_FIRST(type, member, head)                                                               \
	(dlist_is_empty(head) ? NULL : dlist_head_element(type, member, head))
#define LG_NEXT(type, member, head, item)                                                          \
	(dlist_has_next(head, &(item)->member)                                                         \
		 ? dlist_container(type, member, dlist_next_node(head, &(item)->member))                   \
		 : NULL)
#define LG_FIRST_HOLDER(lock) LG_FIRST(PROCLOCK, lockLink, &(lock)->procLocks)
#define LG_NEXT_HOLDER(lock, item) LG_NEXT(PROCLOCK, lockLink, &(lock)->procLocks, item)
#define LG_FIRST_WAITER(lock) LG_FIRST(PGPROC, LG_WAIT_LINK, &(lock)->waitProcs.dlist)
#define LG_NEXT_WAITER(lock, item) LG_NEXT(PGPROC, LG_WAIT_LINK, &(lock)->waitProcs.dlist, item)
#define LG_FIRST_OWN(proc, part) LG_FIRST(PROCLOCK, procLink, &(proc)->myProcLocks[part])
#define LG_NEXT_OWN(proc, part, item) LG_NEXT(PROCLOCK, procLink, &(proc)->myProcLocks[part], item)
#define LG_OWNS_NONE(proc, part) dlist_is_empty(&(proc)->myProcLocks[part])
#else
#define LG_FIRST_HOLDER(lock)                                                                      \
	((PROCLOCK *) SHMQueueNext(&(lock)->procLocks, &(lock)->procLocks,                             \
							   offsetof(PROCLOCK, lockLink)))
#define LG_NEXT_HOLDER(lock, item)                                                                 \
	((PROCLOCK *) SHMQueueNext(&(lock)->procLocks, &(item)->lockLink, offsetof(PROCLOCK, lockLink)))
#define LG_FIRST_WAITER(lock)                                                                      \
	((PGPROC *) SHMQueueNext(&(lock)->waitProcs.links, &(lock)->waitProcs.links,                   \
							 offsetof(PGPROC, links)))
#define LG_NEXT_WAITER(lock, item)                                                                 \
	((PGPROC *) SHMQueueNext(&(lock)->waitProcs.links, &(item)->links, offsetof(PGPROC, links)))
#define LG_FIRST_OWN(proc, part)                                                                   \
	((PROCLOCK *) SHMQueueNext(&(proc)->myProcLocks[part], &(proc)->myProcLocks[part],             \
							   offsetof(PROCLOCK, procLink)))
#define LG_NEXT_OWN(proc, part, item)                                                              \
	((PROCLOCK *) SHMQueueNext(&(proc)->myProcLocks[part], &(item)->procLink,                      \
							   offsetof(PROCLOCK, procLink)))
#define LG_OWNS_NONE(proc, part) ((proc)->myProcLocks[part].next == &(proc)->myProcLocks[part])
#endif

/*
 * The fast-path relation locks of a process, slot by slot: the modes held as
 * bits from AccessShareLock up, and the relation.  Since 18 their number is
 * set at start.  Read them under the process's fpInfoLock.
 */
#if PG_VERSION_NUM >= 180000
#define LG_FASTPATH_SLOTS ((int) FastPathLockSlotsPerBackend())
#define LG_FASTPATH_BITS(proc, i)                                                                  \
	(((proc)->fpLockBits[(i) / FP_LOCK_SLOTS_PER_GROUP] >>                                         \
	  (3 * ((i) % FP_LOCK_SLOTS_PER_GROUP))) &                                                     \
	 7)
#else
#define LG_FASTPATH_SLOTS FP_LOCK_SLOTS_PER_BACKEND
#define LG_FASTPATH_BITS(proc, i) (((proc)->fpLockBits >> (3 * (i))) & 7)
#endif
#define LG_FASTPATH_MASK(proc, i) ((LOCKMASK) (LG_FASTPATH_BITS(proc, i) << AccessShareLock))

/* 16: whoever may see a row again says for which relations */
#if PG_VERSION_NUM >= 160000
#define lg_epq_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL)
#else
#define lg_epq_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1)
#endif

#endif /* LG_COMPAT_H */
