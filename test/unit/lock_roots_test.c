/*-------------------------------------------------------------------------
 * lock_roots_test.c
 *		Compare what is read off the picture with what a slow reader finds.
 *
 * Draws pictures at random, lets lock_edges.c, lock_roots.c and lock_tree.c
 * conclude from them, and concludes the same without any of their economies:
 * every pair of a waiter and its blocker is written into a matrix, the matrix
 * is closed transitively, and each session is looked at on its own, with
 * nothing shared or remembered.  Both must agree on every field of every node.
 *
 * Half of the pictures are such as a server can be in; in the others conflicting
 * modes are held side by side, and a process may stand in two queues, as in a
 * reading that was torn by what went on meanwhile.
 *
 * Links with those three objects and nothing else; what they need of the
 * server is replaced below.
 *
 * usage: lock_roots_test FROM TO [MISTAKE]
 *
 * One picture per seed, TO excluded.  MISTAKE makes the slow reader err, see
 * mistakes[]: then there must be mismatches.  Exit status: 0 all agree, 1 some
 * differ, 2 wrong usage.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "lock_edges.h"
#include "lock_roots.h"
#include "lock_tree.h"

/* The C library's own: the server's are not linked. */
#undef fprintf
#undef printf
#undef qsort
#undef vprintf

#define MAX_PROCESSES 48
#define MAX_LOCKS 12
#define SHOWN_SEEDS 3 /* mismatches are shown in detail for so many seeds */

/* --- in place of the server ----------------------------------------------------- */

volatile sig_atomic_t InterruptPending;

static void *blocks[1 << 16]; /* all memory of one picture */
static int n_blocks;

void *
palloc_extended(Size size, int flags)
{
	void *block = malloc(Max(size, 1));

	if (block == NULL || n_blocks == lengthof(blocks))
		abort();
	/* what is read before it is written shall be seen */
	memset(block, (flags & MCXT_ALLOC_ZERO) ? 0 : 0x7f, size);
	return blocks[n_blocks++] = block;
}

void *
palloc(Size size)
{
	return palloc_extended(size, 0);
}

void *
palloc0(Size size)
{
	return palloc_extended(size, MCXT_ALLOC_ZERO);
}

void *
repalloc_huge(void *pointer, Size size)
{
	int i = 0;

	while (blocks[i] != pointer)
		i++;
	return blocks[i] = realloc(pointer, size);
}

static void
free_all(void)
{
	while (n_blocks > 0)
		free(blocks[--n_blocks]);
}

void
pg_qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	qsort(base, n, size, compare);
}

void
ProcessInterrupts(void)
{
}

/* The server's has other parameters from major to major; all begin with the condition. */
extern void fail_assertion(const char *condition) __asm__("ExceptionalCondition");

void
fail_assertion(const char *condition)
{
	printf("assertion failed  %s\n", condition);
	abort();
}

/* --- what is being tested --------------------------------------------------------- */

static LgLockGraph *graph;
static long seed;

/* What the slow reader can be made to get wrong. */
static const char *const mistakes[] = {"none",
									   "queue",		/* those ahead in the queue block nobody */
									   "cycles",	/* a cycle is no deadlock */
									   "parents",	/* a first hard blocker that waits will do */
									   "harm",		/* only who waits directly is blocked */
									   "contended", /* the first lock others wait for will do */
									   "siblings"}; /* shortest wait first */

static enum
{
	RIGHT,
	WRONG_QUEUE,
	WRONG_CYCLES,
	WRONG_PARENTS,
	WRONG_HARM,
	WRONG_CONTENDED,
	WRONG_SIBLINGS
} mistake;

/* Modes from AccessShareLock down and across, as in the documentation. */
static const char *const conflict_table[] = {"       x", "      xx", "    xxxx", "   xxxxx",
											 "  xx xxx", "  xxxxxx", " xxxxxxx", "xxxxxxxx"};
static LOCKMASK conflicts[MAX_LOCKMODES];

static void
fill_conflicts(void)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		for (LOCKMODE other = AccessShareLock; other <= AccessExclusiveLock; other++)
		{
			if (conflict_table[mode - 1][other - 1] == 'x')
				conflicts[mode] |= LOCKBIT_ON(other);
		}
	}
}

/* The modes that conflict with any of those. */
static LOCKMASK
conflicts_of(LOCKMASK modes)
{
	LOCKMASK all = 0;

	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if (modes & LOCKBIT_ON(mode))
			all |= conflicts[mode];
	}
	return all;
}

/* --- mismatches ------------------------------------------------------------------- */

static int n_mismatches;
static int n_bad_seeds;
static long last_bad_seed = -1;

static void
show_picture(void)
{
	printf("seed              %ld\n", seed);
	for (int l = 0; l < graph->n_locks; l++)
	{
		const LgAwaitedLock *lock = &graph->locks[l];

		printf("  lock %-3d held by", l);
		for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
			printf(" n%d:%x", graph->holders[i].node, (unsigned) graph->holders[i].held);
		printf("\n           queue  ");
		for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
			printf(" n%d:%d", graph->waiters[i].node, graph->waiters[i].mode);
		printf("\n");
	}
}

static void
check(const char *what, int node, int64 got, int64 want)
{
	if (got == want)
		return;
	n_mismatches++;
	if (seed != last_bad_seed)
	{
		last_bad_seed = seed;
		if (++n_bad_seeds <= SHOWN_SEEDS)
			show_picture();
	}
	if (n_bad_seeds <= SHOWN_SEEDS)
		printf("  n%-3d            %s is %lld, not %lld\n", node, what, (long long) got,
			   (long long) want);
}

/* --- a picture at random ---------------------------------------------------------- */

/* How a picture came about; all by process. */
typedef struct Drawing
{
	int n_processes;
	int n_locks;
	bool torn;						/* as no server is, but a reading may show it */
	int leader[MAX_PROCESSES];		/* of its lock group; outside of one, itself */
	bool prepared[MAX_PROCESSES];	/* not a process but a prepared transaction */
	int awaited[MAX_PROCESSES];		/* lock; -1 = none */
	int awaited_too[MAX_PROCESSES]; /* likewise, in torn pictures */
	int order[MAX_PROCESSES];		/* in which they came to the queues */
} Drawing;

static uint64 random_state;

static int
random_below(int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int) ((random_state >> 11) % n);
}

static bool
random_percent(int percent)
{
	return random_below(100) < percent;
}

static void
draw_processes(Drawing *d)
{
	int grouped = random_below(2) ? 0 : 1 + random_below(80);
	int waiting = 20 + random_below(80);

	for (int p = 0; p < d->n_processes; p++)
	{
		int place = random_below(p + 1);

		d->leader[p] = p > 0 && random_percent(grouped) ? d->leader[random_below(p)] : p;
		d->prepared[p] = false;
		d->awaited[p] = random_percent(waiting) ? random_below(d->n_locks) : -1;
		d->awaited_too[p] = d->torn && random_percent(5) ? random_below(d->n_locks) : -1;

		/* an order at random: each takes somebody's place, who goes to the end */
		d->order[p] = d->order[place];
		d->order[place] = p;
	}

	/* the last is in nobody's group, since it leads itself and nobody came after it */
	if (d->leader[d->n_processes - 1] == d->n_processes - 1 && random_percent(20))
	{
		d->prepared[d->n_processes - 1] = true;
		d->awaited[d->n_processes - 1] = d->awaited_too[d->n_processes - 1] = -1;
	}
}

static int
node_of(const Drawing *d, int process)
{
	int slot = d->leader[process];
	LgLockNode *node;

	if (graph->node_of_slot[slot] >= 0)
		return graph->node_of_slot[slot];
	node = &graph->nodes[graph->n_nodes];
	memset(node, 0, sizeof(LgLockNode));
	node->slot = slot;
	node->pid = d->prepared[slot] ? 0 : 1000 + slot;
	node->first_waiter = node->depth = node->root_set = node->parent = node->contended_lock = -1;
	return graph->node_of_slot[slot] = graph->n_nodes++;
}

/* Who holds the newest lock, as far as the queue minds. */
static void
draw_holders(const Drawing *d, LgAwaitedLock *lock)
{
	static const LOCKMODE few[][2] = {{AccessShareLock, RowExclusiveLock},
									  {ExclusiveLock, ShareLock}};
	int holding = random_below(60);
	int taste = random_below(3);

	lock->first_holder = graph->n_holders;
	for (int p = 0; p < d->n_processes; p++)
	{
		LOCKMASK held = 0;

		if (!random_percent(holding))
			continue;
		for (int n = 1 + random_below(2); n > 0; n--)
			held |= LOCKBIT_ON(taste < 2 ? few[taste][random_below(2)] : 1 + random_below(8));
		for (int i = lock->first_holder; i < graph->n_holders && !d->torn; i++)
		{
			if (graph->nodes[graph->holders[i].node].slot != d->leader[p])
				held &= ~conflicts_of(graph->holders[i].held);
		}
		if (held & conflicts_of(lock->queued))
			graph->holders[graph->n_holders++] = (LgLockHolder){node_of(d, p), held};
	}
	lock->n_holders = graph->n_holders - lock->first_holder;
}

static void
draw_waiter(const Drawing *d, int process, LOCKMODE mode)
{
	LgLockWaiter *waiter = &graph->waiters[graph->n_waiters];
	LgLockNode *node;

	waiter->slot = process;
	waiter->pid = 1000 + process;
	waiter->node = node_of(d, process);
	waiter->lock = graph->n_locks;
	waiter->mode = mode;
	/* now and then unknown, and after the reading when the clock was set */
	waiter->wait_start = random_below(5) ? 1 + random_below(graph->read_at * 11 / 10) : 0;

	node = &graph->nodes[waiter->node];
	waiter->next_of_node = node->first_waiter;
	node->first_waiter = graph->n_waiters++;
	if (waiter->wait_start != 0 && (node->wait_start == 0 || waiter->wait_start < node->wait_start))
		node->wait_start = waiter->wait_start;
}

/* One lock, its holders and its queue; nothing if nobody awaits it. */
static void
draw_lock(const Drawing *d, int number)
{
	LgAwaitedLock *lock = &graph->locks[graph->n_locks];
	int queue[MAX_PROCESSES];
	LOCKMODE modes[MAX_PROCESSES];
	int n = 0;

	memset(lock, 0, sizeof(LgAwaitedLock));
	lock->conflicts = conflicts;
	for (int i = 0; i < d->n_processes; i++)
	{
		int p = d->order[i];

		if (d->awaited[p] != number && d->awaited_too[p] != number)
			continue;
		modes[n] = random_below(2) ? 1 + random_below(8) : ExclusiveLock + random_below(2);
		lock->queued |= LOCKBIT_ON(modes[n]);
		queue[n++] = p;
	}
	if (n == 0)
		return;

	draw_holders(d, lock);
	lock->first_waiter = graph->n_waiters;
	lock->n_waiters = n;
	for (int i = 0; i < n; i++)
		draw_waiter(d, queue[i], modes[i]);
	graph->n_locks++;
}

/* Leaves a picture in graph; without locks if nobody waits. */
static void
draw_picture(void)
{
	Drawing d = {0};

	random_state = UINT64CONST(0x9E3779B97F4A7C15) * (seed + 1) ^ UINT64CONST(0xD1B54A32D192ED03);
	for (int i = 0; i < 8; i++)
		random_below(2);

	d.n_processes = 2 + random_below(random_below(4) ? 10 : 40);
	d.n_locks = 1 + random_below(random_below(4) ? 4 : 10);
	d.torn = random_below(2);
	draw_processes(&d);

	graph = palloc0(sizeof(LgLockGraph));
	graph->read_at = 100000;
	graph->nodes = palloc(sizeof(LgLockNode) * MAX_PROCESSES);
	graph->waiters = palloc(sizeof(LgLockWaiter) * 2 * MAX_PROCESSES);
	graph->holders = palloc(sizeof(LgLockHolder) * MAX_LOCKS * MAX_PROCESSES);
	graph->locks = palloc(sizeof(LgAwaitedLock) * MAX_LOCKS);
	graph->node_of_slot = palloc(sizeof(int) * MAX_PROCESSES);
	memset(graph->node_of_slot, -1, sizeof(int) * MAX_PROCESSES);
	for (int number = 0; number < d.n_locks; number++)
		draw_lock(&d, number);
}

/* --- the slow reader: who waits for whom ------------------------------------------ */

static bool waits_for[MAX_PROCESSES][MAX_PROCESSES]; /* directly, hard or soft */
static bool leads_to[MAX_PROCESSES][MAX_PROCESSES];	 /* directly or through others */
static bool in_cycle[MAX_PROCESSES];
static int parents[MAX_PROCESSES];

static bool
is_waiting(int node)
{
	return graph->nodes[node].first_waiter >= 0;
}

/* A holder whose modes conflict with what a waiter awaits, of another group. */
static bool
blocks_hard(const LgLockHolder *holder, const LgLockWaiter *waiter)
{
	return holder->node != waiter->node && (holder->held & conflicts[waiter->mode]);
}

/* Somebody ahead in the queue who awaits a conflicting mode, of another group. */
static bool
blocks_soft(const LgLockWaiter *ahead, const LgLockWaiter *waiter)
{
	return ahead->node != waiter->node && (LOCKBIT_ON(ahead->mode) & conflicts[waiter->mode]) &&
		   mistake != WRONG_QUEUE;
}

/*
 * The parent that one place in one queue gives: a hard blocker that waits for
 * nobody itself, or else the first hard one, or else the first soft one; -1 if
 * nothing blocks.
 */
static int
parent_by(int index)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	int hard = -1;

	for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
	{
		const LgLockHolder *holder = &graph->holders[i];

		if (!blocks_hard(holder, waiter))
			continue;
		if (!is_waiting(holder->node) && mistake != WRONG_PARENTS)
			return holder->node;
		if (hard < 0)
			hard = holder->node;
	}
	if (hard >= 0)
		return hard;
	for (int i = lock->first_waiter; i < index; i++)
	{
		if (blocks_soft(&graph->waiters[i], waiter))
			return graph->waiters[i].node;
	}
	return -1;
}

/* Fill in the matrix, and everybody's parent: that of its first wait which is blocked. */
static void
write_pairs(void)
{
	memset(waits_for, 0, sizeof(waits_for));
	memset(parents, -1, sizeof(parents));
	for (int i = 0; i < graph->n_waiters; i++)
	{
		const LgLockWaiter *waiter = &graph->waiters[i];
		const LgAwaitedLock *lock = &graph->locks[waiter->lock];

		for (int k = lock->first_holder; k < lock->first_holder + lock->n_holders; k++)
		{
			if (blocks_hard(&graph->holders[k], waiter))
				waits_for[waiter->node][graph->holders[k].node] = true;
		}
		for (int k = lock->first_waiter; k < i; k++)
		{
			if (blocks_soft(&graph->waiters[k], waiter))
				waits_for[waiter->node][graph->waiters[k].node] = true;
		}
		if (parents[waiter->node] < 0)
			parents[waiter->node] = parent_by(i);
	}
}

/* Close the matrix (Warshall).  Who leads to itself is in a cycle, and has no parent. */
static void
close_pairs(void)
{
	int n = graph->n_nodes;

	memcpy(leads_to, waits_for, sizeof(leads_to));
	for (int through = 0; through < n; through++)
	{
		for (int from = 0; from < n; from++)
		{
			for (int to = 0; to < n && leads_to[from][through]; to++)
				leads_to[from][to] |= leads_to[through][to];
		}
	}
	for (int i = 0; i < n; i++)
	{
		in_cycle[i] = leads_to[i][i] && mistake != WRONG_CYCLES;
		if (in_cycle[i])
			parents[i] = -1;
	}
}

/* --- the slow reader: what follows for one session -------------------------------- */

static void
check_blockers(int node)
{
	int blockers[MAX_PROCESSES];
	int count = lg_lock_edges_blockers_of(graph, node, blockers);
	bool named[MAX_PROCESSES] = {false};
	int pids_wanted = 0;
	bool zero_wanted = false;

	for (int i = 0; i < count; i++)
	{
		check("blocker named twice", node, named[blockers[i]], false);
		named[blockers[i]] = true;
	}
	for (int other = 0; other < graph->n_nodes; other++)
	{
		check("blocker", node, named[other] ? other : -1, waits_for[node][other] ? other : -1);
		if (waits_for[node][other] && graph->nodes[other].pid == 0)
			zero_wanted = true;
		else if (waits_for[node][other])
			pids_wanted++;
	}

	count = lg_lock_edges_pids_of(graph, blockers, count);
	check("number of PIDs", node, count, pids_wanted + zero_wanted);
	for (int i = 0; i < count; i++)
	{
		check("order of PIDs", node, i == 0 || blockers[i - 1] < blockers[i], true);
		check("PID 0", node, blockers[i] == 0, i == 0 && zero_wanted);
	}
}

/* Add what a search stops at: a root, or a cycle with all its members. */
static void
add_stop(int node, bool *roots)
{
	for (int i = 0; i < graph->n_nodes; i++)
		roots[i] |= i == node || (leads_to[node][i] && leads_to[i][node]);
}

/*
 * The roots of a session, found in rounds: who is met in a round is one wait
 * farther away.  Goes no farther from a root or a cycle.  Returns the depth, -1
 * for those who are roots or cycle members, or whose waits lead nowhere.
 */
static int
find_roots(int node, bool *roots)
{
	int distance[MAX_PROCESSES];
	int depth = -1;
	int farthest = 0;

	if (in_cycle[node] || !is_waiting(node))
	{
		add_stop(node, roots);
		return -1;
	}
	memset(distance, -1, sizeof(distance));
	distance[node] = 0;
	for (int round = 1; farthest == round - 1; round++)
	{
		for (int from = 0; from < graph->n_nodes; from++)
		{
			if (distance[from] != round - 1 || in_cycle[from] || !is_waiting(from))
				continue;
			for (int to = 0; to < graph->n_nodes; to++)
			{
				if (!waits_for[from][to] || distance[to] >= 0)
					continue;
				distance[to] = farthest = round;
				if (!in_cycle[to] && is_waiting(to))
					continue;
				add_stop(to, roots);
				if (depth < 0)
					depth = round;
			}
		}
	}
	return depth;
}

static void
check_roots(int node)
{
	const LgLockNode *got = &graph->nodes[node];
	bool roots[MAX_PROCESSES] = {false};
	bool named[MAX_PROCESSES] = {false};

	check("depth", node, got->depth, find_roots(node, roots));
	if (got->root_set >= 0)
	{
		const LgRootSet *set = &graph->root_sets[got->root_set];

		for (int i = set->first; i < set->first + set->count; i++)
		{
			check("root named twice", node, named[graph->set_members[i]], false);
			named[graph->set_members[i]] = true;
		}
	}
	for (int other = 0; other < graph->n_nodes; other++)
		check("root", node, named[other] ? other : -1, roots[other] ? other : -1);
}

/* Whom a session keeps waiting, one by one; of waiters only their number is told. */
static void
check_harm(int node)
{
	const LgLockNode *got = &graph->nodes[node];
	int directly = 0;
	int total = 0;
	TimestampTz longest = 0;
	int64 total_wait = 0;

	for (int other = 0; other < graph->n_nodes; other++)
	{
		TimestampTz start = graph->nodes[other].wait_start;

		if (other == node || !leads_to[other][node])
			continue;
		if (waits_for[other][node])
			directly++;
		else if (mistake == WRONG_HARM)
			continue;
		total++;
		if (start == 0)
			continue;
		if (longest == 0 || start < longest)
			longest = start;
		if (start < graph->read_at)
			total_wait += graph->read_at - start;
	}
	check("number of sessions behind it", node, lg_lock_roots_count_blocked(graph, node), total);
	if (is_waiting(node) && !in_cycle[node])
		directly = total = longest = total_wait = 0;
	check("blocked_directly", node, got->blocked_directly, directly);
	check("blocked_total", node, got->blocked_total, total);
	check("longest", node, got->longest, longest);
	check("total_wait", node, got->total_wait, total_wait);
}

/*
 * How many sessions wait because of all that one session holds of one lock.
 * Tells which modes it holds there that others mind, and which those await.
 */
static int
count_behind_lock(int node, const LgAwaitedLock *lock, LOCKMASK *held, LOCKMASK *awaited)
{
	bool behind[MAX_PROCESSES] = {false};
	int count = 0;

	*held = *awaited = 0;
	for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
	{
		if (graph->holders[i].node == node)
			*held |= graph->holders[i].held;
	}
	for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
	{
		const LgLockWaiter *waiter = &graph->waiters[i];

		if (waiter->node == node || !(*held & conflicts[waiter->mode]))
			continue;
		*awaited |= LOCKBIT_ON(waiter->mode);
		for (int other = 0; other < graph->n_nodes; other++)
			behind[other] |= other == waiter->node || leads_to[other][waiter->node];
	}
	*held &= conflicts_of(*awaited);
	for (int other = 0; other < graph->n_nodes; other++)
		count += other != node && behind[other];
	return count;
}

/* Of the locks that a root or a cycle member holds, the first because of which most wait. */
static void
check_contended_lock(int node)
{
	const LgLockNode *got = &graph->nodes[node];
	int contended = -1;
	int most = 0;
	LOCKMASK held = 0;
	LOCKMASK awaited = 0;

	for (int l = 0; l < graph->n_locks && (in_cycle[node] || !is_waiting(node)); l++)
	{
		LOCKMASK held_here;
		LOCKMASK awaited_here;
		int count = count_behind_lock(node, &graph->locks[l], &held_here, &awaited_here);

		if (count <= most || (most > 0 && mistake == WRONG_CONTENDED))
			continue;
		most = count;
		contended = l;
		held = held_here;
		awaited = awaited_here;
	}
	check("contended_lock", node, got->contended_lock, contended);
	check("mask of modes held", node, got->held, held);
	check("mask of modes awaited", node, got->awaited, awaited);
}

/* --- the slow reader: the tree ---------------------------------------------------- */

/* Does one node stand before another, under the same parent or both at the top? */
static bool
stands_before(const LgLockNode *a, const LgLockNode *b)
{
	if (a->parent < 0)
	{
		/* most harmful first */
		if (a->blocked_total != b->blocked_total)
			return a->blocked_total > b->blocked_total;
		if (a->total_wait != b->total_wait)
			return a->total_wait > b->total_wait;
		return a < b;
	}

	/* longest wait first, unknown ones last */
	if (a->wait_start == b->wait_start)
		return a->pid < b->pid;
	if (a->wait_start == 0 || b->wait_start == 0)
		return b->wait_start == 0;
	return (a->wait_start < b->wait_start) == (mistake != WRONG_SIBLINGS);
}

/*
 * Compare the rows from *row on with all that stands below a parent (-1 = at
 * the top), each followed by what stands below it in turn.
 */
static void
check_branch(int parent, int level, int *row)
{
	bool placed[MAX_PROCESSES] = {false};

	for (;;)
	{
		int next = -1;

		for (int i = 0; i < graph->n_nodes; i++)
		{
			if (parents[i] == parent && !placed[i] &&
				(next < 0 || stands_before(&graph->nodes[i], &graph->nodes[next])))
				next = i;
		}
		if (next < 0)
			return;
		placed[next] = true;
		check("next row of the tree", next, graph->tree[(*row)++], next);
		check("level", next, graph->nodes[next].level, level);
		check_branch(next, level + 1, row);
	}
}

static void
check_tree(void)
{
	bool met[MAX_PROCESSES] = {false};
	int n_rows = 0;

	for (int row = 0; row < graph->n_nodes; row++)
	{
		int node = graph->tree[row];

		check("row outside the picture", node, node < 0 || node >= graph->n_nodes, false);
		if (node < 0 || node >= graph->n_nodes)
			return;
		check("row that comes again", node, met[node], false);
		met[node] = true;
	}
	check_branch(-1, 0, &n_rows);
	check("number of rows", -1, n_rows, graph->n_nodes);
}

/* --- all together ----------------------------------------------------------------- */

static long n_pictures;
static long n_sessions;
static long n_in_cycles;

static void
check_picture(void)
{
	int n_waiting = 0;

	write_pairs();
	close_pairs();
	for (int node = 0; node < graph->n_nodes; node++)
	{
		n_waiting += is_waiting(node);
		n_in_cycles += in_cycle[node];
		check("deadlock", node, graph->nodes[node].deadlock, in_cycle[node]);
		check("parent", node, graph->nodes[node].parent, parents[node]);
		check_blockers(node);
		check_roots(node);
		check_harm(node);
		check_contended_lock(node);
	}
	check_tree();
	check("waiting_sessions", -1, graph->waiting_sessions, n_waiting);
	check("cut_off", -1, graph->cut_off, 0);
	n_pictures++;
	n_sessions += graph->n_nodes;
}

static bool
find_mistake(const char *name)
{
	for (int i = 0; i < (int) lengthof(mistakes); i++)
	{
		if (strcmp(name, mistakes[i]) == 0)
		{
			mistake = i;
			return true;
		}
	}
	return false;
}

int
main(int argc, char **argv)
{
	if (argc < 3 || argc > 4 || (argc == 4 && !find_mistake(argv[3])))
	{
		fprintf(stderr, "usage: %s FROM TO [MISTAKE]\n", argv[0]);
		return 2;
	}
	fill_conflicts();
	for (seed = atol(argv[1]); seed < atol(argv[2]); seed++)
	{
		draw_picture();
		if (graph->n_locks > 0)
		{
			lg_lock_roots_solve(graph);
			lg_lock_tree_build(graph);
			check_picture();
		}
		free_all();
	}
	printf("pictures          %ld\n", n_pictures);
	printf("sessions          %ld\n", n_sessions);
	printf("in cycles         %ld\n", n_in_cycles);
	printf("mismatches        %d, at %d seeds\n", n_mismatches, n_bad_seeds);
	return n_mismatches > 0;
}
