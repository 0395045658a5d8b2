#include "postgres.h"

#include "emergency.h"

/* stub */
void
lg_emergency_report(const LgMemory *memory, const LgRescue *rescue)
{
}
