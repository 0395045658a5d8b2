/*-------------------------------------------------------------------------
 * endings.c
 *		How a session's wait or pause ended, as it says itself.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "endings.h"

Size
lg_endings_size(void)
{
	return 0;
}

bool
lg_endings_of(int slot, int pid, LgEnding *ending)
{
	return false;
}
