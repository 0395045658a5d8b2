#include "postgres.h"

#include "setup_times.h"

/* stub */
Size
lg_setup_times_size(void)
{
	return 0;
}

void
lg_setup_times_init(void)
{
}

void
lg_setup_times_begin(void)
{
}
