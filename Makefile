# pg_lifeguard: make && make install && make installcheck
EXTENSION = pg_lifeguard
EXTVERSION = 1.0
MODULE_big = pg_lifeguard
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

DATA = $(filter-out extension/pg_lifeguard--$(EXTVERSION).sql,$(wildcard extension/pg_lifeguard--*.sql))
DATA_built = extension/pg_lifeguard--$(EXTVERSION).sql
TOPICS = $(sort $(wildcard extension/topics/*.sql))

REGRESS = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS_OPTS = --temp-instance=tmp_check_regress --temp-config=test/pg_lifeguard.conf
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --temp-instance=tmp_check_iso --temp-config=test/pg_lifeguard.conf
TAP_TESTS = 1
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))

PG_CPPFLAGS = -DLG_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter
EXTRA_CLEAN = tmp_check_regress tmp_check_iso output_iso

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

extension/pg_lifeguard--$(EXTVERSION).sql: $(TOPICS)
	cat $^ > $@

# every object sees every header: the extension is small, a stale object is not
$(OBJS): $(wildcard src/*.h)
